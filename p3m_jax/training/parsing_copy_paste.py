"""Checks the section `copy_paste` of a configuration, and turns it into typed settings."""

from ml_collections import ConfigDict

from p3m_jax.copy_paste.feature import FeaturePaste
from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste
from p3m_jax.copy_paste.sources import KINDS
from p3m_jax.models.network import NETWORKS, network
from p3m_jax.training.errors import one_of
from p3m_jax.training.settings import CopyPasteSettings, Duration

LEVELS = ("none", "image", "feature")  # no copy and paste, P3M-ICP, P3M-FCP


def parse_copy_paste(wanted: ConfigDict, batch_size: int) -> CopyPasteSettings | None:
    """Converts the section `config.copy_paste` to settings; returns None if its level is "none".

    Does not search for the faces to copy; `recipe.sources` in the returned settings is empty.
    """
    if wanted.level == "none":
        return None
    features = FeaturePaste(tuple(wanted.layers), wanted.stop_gradient, wanted.source_from)
    return CopyPasteSettings(
        recipe=CopyPaste(
            sources=(),
            probability=wanted.probability,
            variant=wanted.variant,
            rotation=wanted.rotation,
            scale=tuple(wanted.scale),
            flip=wanted.flip,
            level=wanted.level,
            source_batch=wanted.source_batch,
            source_size=wanted.source_size,
        ),
        kind=wanted.source_kind,
        folder=wanted.sources or None,
        masks=wanted.source_masks or None,
        cache=wanted.source_cache or None,
        features=features if wanted.level == "feature" else None,
        start=Duration(wanted.start_step, wanted.start_epoch, batch_size),
    )


def copy_paste_problems(wanted: ConfigDict, network_name: str, batch_size: int) -> list[str]:
    """Checks the section `config.copy_paste`; returns a message for each invalid setting.

    A message names the setting, its value, and the values allowed. Returns [] if all are valid.
    """
    problems = [
        *one_of("copy_paste.level", wanted.level, LEVELS),
        *one_of("copy_paste.variant", wanted.variant, VARIANTS),
        *one_of("copy_paste.source_kind", wanted.source_kind, KINDS),
        *one_of("copy_paste.source_from", wanted.source_from, ("live", "average")),
    ]
    for name in ("probability", "flip"):
        if not 0 <= wanted[name] <= 1:
            problems.append(f"copy_paste.{name} is {wanted[name]}; it must be between 0 and 1")
    if not 0 <= wanted.rotation <= 180:
        problems.append(
            f"copy_paste.rotation is {wanted.rotation}; it must be between 0 and 180 degrees"
        )
    scale = tuple(wanted.scale)
    if len(scale) != 2 or not 0.1 <= scale[0] <= scale[1] <= 10:
        problems.append(
            f"copy_paste.scale is {scale}; it must be the smallest and the largest factor, "
            "between 0.1 and 10"
        )
    if wanted.start_epoch < 0 or wanted.start_step < 0:
        problems.append("copy_paste.start_epoch and copy_paste.start_step must be at least 0")
    if wanted.level != "none":
        problems += _source_problems(wanted)
    if wanted.level == "feature" and network_name in NETWORKS:
        problems += _feature_problems(wanted, network_name, batch_size)
    return problems


def _source_problems(wanted: ConfigDict) -> list[str]:
    problems = []
    if wanted.source_kind == "training_set" and (wanted.sources or wanted.source_masks):
        problems.append(
            "copy_paste.source_kind is 'training_set', so copy_paste.sources and source_masks must "
            "be empty"
        )
    if wanted.source_kind == "celebamask_hq" and not wanted.sources:
        problems.append("copy_paste.sources is empty; choose the folder CelebAMask-HQ")
    if wanted.source_masks and (not wanted.sources or wanted.source_kind != "folder"):
        problems.append("copy_paste.source_masks requires a folder of faces in copy_paste.sources")
    return problems


def _feature_problems(wanted: ConfigDict, network_name: str, batch_size: int) -> list[str]:
    problems, layers = [], network(network_name).layers
    if not layers:
        problems.append(
            f"copy_paste.level is 'feature', but {network_name} names no layers to paste at"
        )
    elif not wanted.layers or set(wanted.layers) - set(layers):
        problems.append(
            f"copy_paste.layers is {tuple(wanted.layers)}; choose some of {', '.join(layers)}"
        )
    if not 1 <= wanted.source_batch <= batch_size:
        problems.append(
            f"copy_paste.source_batch is {wanted.source_batch}; it must be between 1 and the "
            "batch_size"
        )
    if wanted.source_size < 32 or wanted.source_size % 32:
        problems.append(
            f"copy_paste.source_size is {wanted.source_size}; it must be a multiple of 32"
        )
    return problems
