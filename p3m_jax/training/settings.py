"""Settings that cannot work, found before anything else is done."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from p3m_jax.data.layouts import FACES, TEST_FOLDERS
from p3m_jax.faces.obfuscation import ObfuscationError
from p3m_jax.models.network import ENCODERS
from p3m_jax.training.copy_paste import copy_paste_problems
from p3m_jax.training.data import find_obfuscation
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.pasting import feature_paste_problems

_AT_LEAST_ONE = (
    "batch_size",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "keep_checkpoints",
    "validation_rows",
)


def check_settings(config: ConfigDict) -> None:
    """Raises `ConfigurationError`, naming all settings that cannot work and what they may be."""
    problems = []
    if config.network not in ENCODERS:
        problems.append(f"network is {config.network!r}; there are {', '.join(ENCODERS)}")
    for name in _AT_LEAST_ONE:
        if config[name] < 1:
            problems.append(f"{name} is {config[name]}; it is 1 or more")
    sizes = {"data.output_size": config.data.output_size, "validation_size": config.validation_size}
    for name, size in sizes.items():
        if size < 32 or size % 32:
            problems.append(f"{name} is {size}; it is a multiple of 32")
    if not config.data.crop_sizes or min(config.data.crop_sizes) < 1:
        problems.append(f"data.crop_sizes is {tuple(config.data.crop_sizes)}; name some sizes")
    if config.batch_size % jax.device_count():
        problems.append(
            f"batch_size is {config.batch_size}; it must be a multiple of the "
            f"{jax.device_count()} devices"
        )
    if config.steps < 0 or config.epochs < 1:
        problems.append("steps is 0 (epochs count) or more, epochs 1 or more")
    for name in set(config.final_test_sets) - TEST_FOLDERS.keys():
        problems.append(f"final_test_sets names {name!r}; there are {', '.join(TEST_FOLDERS)}")
    problems += _data_problems(config) + _privacy_problems(config) + copy_paste_problems(config)
    if config.network in ENCODERS:
        problems += feature_paste_problems(config)
    if problems:
        raise ConfigurationError("The configuration cannot work: " + "; ".join(problems) + ".")


def _data_problems(config: ConfigDict) -> list[str]:
    data, problems = config.data, []
    if bool(data.pictures) != bool(data.mattes):
        problems.append("data.pictures and data.mattes go together")
    elif data.pictures and Path(data.pictures).resolve() == Path(data.mattes).resolve():
        problems.append("data.pictures and data.mattes are one folder; they are two")
    if data.pictures and data.directory:
        problems.append("data.directory and data.pictures are both named; name one data set")
    if data.pictures and config.final_test_sets:
        problems.append("final_test_sets are those of data.directory, which is not named")
    if config.variant == "finetune":
        if not config.init_from:
            problems.append(
                "init_from is empty; fine-tuning starts from a checkpoint, such as `p3m import` "
                "makes of a published file"
            )
        if not data.pictures and not data.directory:
            problems.append("data.pictures and data.mattes are empty; name what to fine-tune on")
    return problems


def _privacy_problems(config: ConfigDict) -> list[str]:
    data, problems = config.data, []
    choices = {
        "data.faces": (data.faces, FACES),
        "data.doubtful": (data.doubtful, ("refuse", "leave_out")),
        "test_faces": (config.test_faces, ("", *FACES)),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            problems.append(f"{name} is {value!r}; it is one of {', '.join(map(repr, known))}")
    try:
        find_obfuscation(config)
    except ObfuscationError as error:
        problems.append(f"data.obfuscation: {str(error).removesuffix('.')} (or none)")
    return problems
