"""What a configuration says about copy and paste inside the network."""

from ml_collections import ConfigDict

from p3m_jax.copy_paste.feature import FeaturePaste
from p3m_jax.models.network import network


def feature_paste(config: ConfigDict) -> FeaturePaste | None:
    """How `config` pastes among the features (P3M-FCP); None where it does not."""
    settings = config.copy_paste
    if settings.level != "feature":
        return None
    return FeaturePaste(tuple(settings.layers), settings.stop_gradient, settings.source_from)


def start_step(config: ConfigDict, pictures: int) -> int:
    """The number of steps that are taken before the first one that pastes.

    `pictures` is the size of the training set, by which epochs are counted.
    """
    settings = config.copy_paste
    return settings.start_step or -(-settings.start_epoch * pictures // config.batch_size)


def feature_paste_problems(config: ConfigDict) -> list[str]:
    """A clause for each setting of the feature level that cannot work."""
    settings, problems = config.copy_paste, []
    if settings.source_from not in ("live", "average"):
        problems.append(
            f"copy_paste.source_from is {settings.source_from!r}; it is one of 'live', 'average'"
        )
    if settings.start_epoch < 0 or settings.start_step < 0:
        problems.append("copy_paste.start_epoch and copy_paste.start_step are 0 or more")
    if not 0 < config.average_decay < 1:
        problems.append(f"average_decay is {config.average_decay}; it is between 0 and 1")
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
            f"copy_paste.source_batch is {settings.source_batch}; it is 1 to the batch_size"
        )
    if settings.source_size < 32 or settings.source_size % 32:
        problems.append(f"copy_paste.source_size is {settings.source_size}; it is a multiple of 32")
    return problems
