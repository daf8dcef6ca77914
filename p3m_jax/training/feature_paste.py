"""Reads and checks a configuration's settings for pasting among features (P3M-FCP)."""

from ml_collections import ConfigDict

from p3m_jax.copy_paste.feature import FeaturePaste
from p3m_jax.models.network import network


def feature_paste(config: ConfigDict) -> FeaturePaste | None:
    """Returns how `config` pastes among the features (P3M-FCP); None if it does not."""
    settings = config.copy_paste
    if settings.level != "feature":
        return None
    return FeaturePaste(tuple(settings.layers), settings.stop_gradient, settings.source_from)


def start_step(config: ConfigDict, pictures: int) -> int:
    """Returns the number of steps before the first one that pastes.

    `pictures` is the size of the training set; it defines the length of an epoch.
    """
    settings = config.copy_paste
    return settings.start_step or -(-settings.start_epoch * pictures // config.batch_size)


def feature_paste_problems(config: ConfigDict) -> list[str]:
    """Returns a clause for each invalid setting of the feature level, with its valid values."""
    settings, problems = config.copy_paste, []
    if settings.source_from not in ("live", "average"):
        problems.append(
            f"copy_paste.source_from is {settings.source_from!r}; it must be 'live' or 'average'"
        )
    if settings.start_epoch < 0 or settings.start_step < 0:
        problems.append("copy_paste.start_epoch and copy_paste.start_step must be at least 0")
    if not 0 < config.average_decay < 1:
        problems.append(
            f"average_decay is {config.average_decay}; it must be between 0 and 1, both excluded"
        )
    if settings.level != "feature":
        return problems
    layers = network(config.network).layers
    if not layers:
        problems.append(
            f"copy_paste.level is 'feature', but {config.network} names no layers to paste at"
        )
    elif not settings.layers or set(settings.layers) - set(layers):
        problems.append(
            f"copy_paste.layers is {tuple(settings.layers)}; name some of {', '.join(layers)}"
        )
    if not 1 <= settings.source_batch <= config.batch_size:
        problems.append(
            f"copy_paste.source_batch is {settings.source_batch}; it must be between 1 and the "
            "batch_size"
        )
    if settings.source_size < 32 or settings.source_size % 32:
        problems.append(
            f"copy_paste.source_size is {settings.source_size}; it must be a multiple of 32"
        )
    return problems
