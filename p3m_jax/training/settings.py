"""Checks the settings before anything else is done, and derives the step's settings from them."""

import math
from pathlib import Path

import jax
from ml_collections import ConfigDict

from p3m_jax.configs import common
from p3m_jax.data.layouts import FACES, TEST_FOLDERS
from p3m_jax.faces.obfuscation import ObfuscationError
from p3m_jax.models.network import NETWORKS
from p3m_jax.training.copy_paste_settings import copy_paste_problems
from p3m_jax.training.data import find_obfuscation
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.feature_paste import feature_paste_problems
from p3m_jax.training.state import RULES
from p3m_jax.training.step import Computing

PRECISIONS = ("float32", "bfloat16")
_AT_LEAST_ONE = (
    "batch_size",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "keep_checkpoints",
    "validation_rows",
)


def check_settings(config: ConfigDict) -> None:
    """Raises `ConfigurationError` that names all invalid settings and their valid values."""
    problems = []
    if config.network not in NETWORKS:
        problems.append(f"network is {config.network!r}; it must be one of {', '.join(NETWORKS)}")
    for name in _AT_LEAST_ONE:
        if config[name] < 1:
            problems.append(f"{name} is {config[name]}; it must be at least 1")
    sizes = {"data.output_size": config.data.output_size, "validation_size": config.validation_size}
    for name, size in sizes.items():
        if size < 32 or size % 32:
            problems.append(f"{name} is {size}; it must be a positive multiple of 32")
    if not config.data.crop_sizes or min(config.data.crop_sizes) < 1:
        problems.append(
            f"data.crop_sizes is {tuple(config.data.crop_sizes)}; name one or more sizes in pixels"
        )
    for name, weight in config.loss.weights.items():
        if not 0 <= weight < math.inf:
            problems.append(f"loss.weights.{name} is {weight:g}; it must be 0 or positive")
    problems += _batch_problems(config)
    if config.steps < 0 or config.epochs < 1:
        problems.append(
            "steps must be at least 0 (0: the number of epochs decides), epochs at least 1"
        )
    for name in set(config.final_test_sets) - TEST_FOLDERS.keys():
        problems.append(
            f"final_test_sets names {name!r}; the test sets are {', '.join(TEST_FOLDERS)}"
        )
    problems += _data_problems(config) + _privacy_problems(config) + copy_paste_problems(config)
    if config.network in NETWORKS:
        problems += feature_paste_problems(config)
    if problems:
        raise ConfigurationError("The configuration is invalid: " + "; ".join(problems) + ".")


def _batch_problems(config: ConfigDict) -> list[str]:
    problems, devices = [], jax.device_count()
    if not 0 < config.learning_rate < math.inf:
        problems.append(f"learning_rate is {config.learning_rate:g}; it must be a number above 0")
    if config.batch_parts < 1:
        problems.append(f"batch_parts is {config.batch_parts}; it must be at least 1")
    elif config.batch_size % (devices * config.batch_parts):
        wanted = devices * config.batch_parts
        parts = f", each with {config.batch_parts} batch_parts" if config.batch_parts > 1 else ""
        larger = -(-config.batch_size // wanted) * wanted
        problems.append(
            f"batch_size is {config.batch_size}, which cannot be divided evenly among {devices} "
            f"devices{parts}; use a multiple of {wanted}, such as --config.batch_size={larger} "
            "--config.learning_rate_rule=sqrt, or use fewer devices"
        )
    if config.learning_rate_rule not in RULES:
        known = ", ".join(map(repr, RULES))
        problems.append(
            f"learning_rate_rule is {config.learning_rate_rule!r}; it must be one of {known}"
        )
    if config.precision not in PRECISIONS:
        known = ", ".join(map(repr, PRECISIONS))
        problems.append(f"precision is {config.precision!r}; it must be one of {known}")
    pasting = config.copy_paste.level == "feature" and config.copy_paste.source_batch > 1
    if config.batch_parts > 1 and pasting:
        problems.append("batch_parts above 1 requires copy_paste.source_batch=1")
    return problems


def computing(config: ConfigDict) -> Computing:
    """Returns how the training step computes: precision, remat and batch parts."""
    dtype = None if config.precision == "float32" else config.precision
    return Computing(dtype, config.remat, config.batch_parts)


def keeps_average(config: ConfigDict) -> bool:
    """Returns True if the run keeps a moving average of its weights."""
    pasting = config.copy_paste.level == "feature"
    return config.average_weights or (pasting and config.copy_paste.source_from == "average")


def _data_problems(config: ConfigDict) -> list[str]:
    data, problems = config.data, []
    if bool(data.pictures) != bool(data.mattes):
        problems.append("data.pictures and data.mattes must be given together")
    elif data.pictures and Path(data.pictures).resolve() == Path(data.mattes).resolve():
        problems.append("data.pictures and data.mattes are the same folder; name two folders")
    if data.pictures and data.directory:
        problems.append("data.directory and data.pictures are both given; name only one of them")
    if data.pictures and config.final_test_sets:
        problems.append("final_test_sets requires data.directory, which contains the test sets")
    if common.part_of(config, common.BASES) == "finetune":
        if not config.init_from:
            problems.append(
                "init_from is empty; fine-tuning starts from a checkpoint, such as one that "
                "`p3m import` makes from a published file"
            )
        if not data.pictures and not data.directory:
            problems.append(
                "data.pictures and data.mattes are empty; name the pictures to fine-tune on"
            )
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
            problems.append(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")
    try:
        find_obfuscation(config)
    except ObfuscationError as error:
        problems.append(f"data.obfuscation: {str(error).removesuffix('.')} (or none)")
    return problems
