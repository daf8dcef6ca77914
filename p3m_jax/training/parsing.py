"""Turns a configuration into settings, and checks all of them before anything else is done."""

import math
from pathlib import Path

import jax
from ml_collections import ConfigDict

from p3m_jax.configs import common
from p3m_jax.data.layouts import FACES, TEST_FOLDERS
from p3m_jax.faces.obfuscation import MODES, Obfuscation, ObfuscationError
from p3m_jax.losses import Weights
from p3m_jax.models.network import NETWORKS
from p3m_jax.text import counted
from p3m_jax.training.errors import ConfigurationError, one_of
from p3m_jax.training.parsing_copy_paste import copy_paste_problems, parse_copy_paste
from p3m_jax.training.settings import (
    DataSettings,
    Duration,
    LoopSettings,
    Settings,
    StepSettings,
    SyntheticSettings,
)
from p3m_jax.training.state import RULES
from p3m_jax.training.step import Computing

PRECISIONS = ("float32", "bfloat16")
_NO_OBFUSCATION = "none"
_AT_LEAST_ONE = (
    "batch_size",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "keep_checkpoints",
    "validation_rows",
)


def parse(config: ConfigDict) -> Settings:
    """Returns the settings of a configuration (see configs/common.py).

    Raises:
      ConfigurationError: settings are invalid; the message lists each with the values allowed.
    """
    problems = [
        *_loop_problems(config),
        *_step_problems(config),
        *_data_problems(config),
        *_faces_problems(config),
        *copy_paste_problems(config.copy_paste, config.network, config.batch_size),
    ]
    if problems:
        raise ConfigurationError("The configuration is invalid: " + "; ".join(problems) + ".")
    pasting = parse_copy_paste(config.copy_paste, config.batch_size)
    from_average = pasting and pasting.features and pasting.features.source_from == "average"
    return Settings(
        network=config.network,
        seed=config.seed,
        init_from=config.init_from or None,
        length=Duration(config.steps, config.epochs, config.batch_size),
        data=_data(config),
        crop_sizes=tuple(config.data.crop_sizes),
        output_size=config.data.output_size,
        copy_paste=pasting,
        step=StepSettings(
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            learning_rate_rule=config.learning_rate_rule,
            stochastic_depth=config.stochastic_depth,
            weights=Weights(**config.loss.weights),
            average=bool(config.average_weights or from_average),
            average_decay=config.average_decay,
            computing=Computing(
                None if config.precision == "float32" else config.precision,
                config.remat,
                config.batch_parts,
            ),
            shard_state=config.shard_state,
        ),
        loop=LoopSettings(
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            validate_every=config.validate_every,
            keep_checkpoints=config.keep_checkpoints,
            checkpoint_directory=config.checkpoint_directory or None,
            validation_size=config.validation_size,
            validation_rows=config.validation_rows,
            validate_average=config.average_weights,
        ),
        final_test_sets=tuple(config.final_test_sets),
        test_faces=config.test_faces or None,
    )


def _data(config: ConfigDict) -> DataSettings:
    data = config.data
    return DataSettings(
        directory=data.directory or None,
        pictures=data.pictures or None,
        mattes=data.mattes or None,
        facemasks=data.facemasks or None,
        foreground_cache=data.foreground_cache or None,
        private_cache=data.private_cache or None,
        faces=data.faces,
        obfuscation=_obfuscation(data),
        leave_out_doubtful=data.doubtful == "leave_out",
        composition=config.loss.composition,
        validation_pictures=data.validation_pictures,
        synthetic=SyntheticSettings(**data.synthetic, seed=config.seed),
    )


def _obfuscation(data: ConfigDict) -> Obfuscation | None:
    if data.obfuscation == _NO_OBFUSCATION:
        return None
    return Obfuscation(data.obfuscation, data.obfuscation_strength).check()


def _loop_problems(config: ConfigDict) -> list[str]:
    problems = one_of("network", config.network, NETWORKS)
    for name in _AT_LEAST_ONE:
        if config[name] < 1:
            problems.append(f"{name} is {config[name]}; it must be at least 1")
    sizes = {"data.output_size": config.data.output_size, "validation_size": config.validation_size}
    for name, size in sizes.items():
        if size < 32 or size % 32:
            problems.append(f"{name} is {size}; it must be a positive multiple of 32")
    if config.steps < 0 or config.epochs < 1:
        problems.append(
            "steps must be at least 0 (0: the number of epochs decides), epochs at least 1"
        )
    for name in set(config.final_test_sets) - TEST_FOLDERS.keys():
        problems.append(
            f"final_test_sets names {name!r}; the test sets are {', '.join(TEST_FOLDERS)}"
        )
    return problems


def _step_problems(config: ConfigDict) -> list[str]:
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
            f"batch_size is {config.batch_size}, which cannot be divided evenly among "
            f"{counted(devices, 'device')}{parts}; use a multiple of {wanted}, such as "
            f"--config.batch_size={larger} --config.learning_rate_rule=sqrt, or use fewer devices"
        )
    pasting = config.copy_paste.level == "feature" and config.copy_paste.source_batch > 1
    if config.batch_parts > 1 and pasting:
        problems.append("batch_parts above 1 requires copy_paste.source_batch=1")
    problems += one_of("learning_rate_rule", config.learning_rate_rule, RULES)
    problems += one_of("precision", config.precision, PRECISIONS)
    for name, weight in config.loss.weights.items():
        if not 0 <= weight < math.inf:
            problems.append(f"loss.weights.{name} is {weight:g}; it must be 0 or positive")
    if not 0 < config.average_decay < 1:
        problems.append(
            f"average_decay is {config.average_decay}; it must be between 0 and 1, both excluded"
        )
    return problems


def _data_problems(config: ConfigDict) -> list[str]:
    data, problems = config.data, []
    if not data.crop_sizes or min(data.crop_sizes) < 1:
        problems.append(
            f"data.crop_sizes is {tuple(data.crop_sizes)}; choose one or more sizes in pixels"
        )
    if bool(data.pictures) != bool(data.mattes):
        problems.append("data.pictures and data.mattes must be given together")
    elif data.pictures and Path(data.pictures).resolve() == Path(data.mattes).resolve():
        problems.append("data.pictures and data.mattes are the same folder; choose two folders")
    if data.pictures and data.directory:
        problems.append("data.directory and data.pictures are both given; choose only one of them")
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
                "data.pictures and data.mattes are empty; choose the pictures to fine-tune on"
            )
    return problems


def _faces_problems(config: ConfigDict) -> list[str]:
    data = config.data
    problems = [
        *one_of("data.faces", data.faces, FACES),
        *one_of("data.doubtful", data.doubtful, ("refuse", "leave_out")),
        *one_of("test_faces", config.test_faces, ("", *FACES)),
    ]
    wrong = one_of("data.obfuscation", data.obfuscation, (_NO_OBFUSCATION, *MODES))
    if wrong:
        return problems + wrong
    try:
        _obfuscation(data)
    except ObfuscationError as error:
        problems.append(f"data.obfuscation_strength is {str(error).removesuffix('.')}")
    return problems
