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


def copy_paste_problems(config: ConfigDict) -> list[str]:
    """What of `config.copy_paste` cannot work, and what it may be."""
    settings, problems = config.copy_paste, []
    choices = {
        "level": ("none", "image", "feature"),
        "source_from": ("live", "average"),
    }
    for name, known in choices.items():
        if settings[name] not in known:
            known = ", ".join(map(repr, known))
            problems.append(f"copy_paste.{name} is {settings[name]!r}; it is one of {known}")
    if not 0 <= settings.probability <= 1:
        problems.append(f"copy_paste.probability is {settings.probability}; it is 0 to 1")
    if settings.start_epoch < 0 or settings.start_step < 0:
        problems.append("copy_paste.start_epoch and copy_paste.start_step are 0 or more")
    if not 0 < config.average_decay < 1:
        problems.append(f"average_decay is {config.average_decay}; it is between 0 and 1")
    if settings.level == "feature":
        layers = network(config.network).layers
        if not settings.layers or set(settings.layers) - set(layers):
            problems.append(
                f"copy_paste.layers is {tuple(settings.layers)}; name some of {', '.join(layers)}"
            )
        if settings.source_batch < 1:
            problems.append(f"copy_paste.source_batch is {settings.source_batch}; it is 1 or more")
        if settings.source_size < 32 or settings.source_size % 32:
            problems.append(
                f"copy_paste.source_size is {settings.source_size}; it is a multiple of 32"
            )
    return problems
