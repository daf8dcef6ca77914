"""Checks a configuration's copy-and-paste settings, and makes the recipe with its faces."""

import hashlib
from pathlib import Path

from ml_collections import ConfigDict

from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste, FaceSource
from p3m_jax.copy_paste.sources import (
    KINDS,
    celebamask_hq_faces,
    folder_faces,
    synthetic_faces,
    training_set_faces,
)
from p3m_jax.data.folders import user_path
from p3m_jax.data.layouts import DataSet, DataSetError
from p3m_jax.training.feature_paste import start_step

LEVELS = ("none", "image", "feature")  # no copy and paste, P3M-ICP, P3M-FCP
CACHE_FOLDER = "face_masks"


def copy_paste_problems(config: ConfigDict) -> list[str]:
    """Returns a clause for each invalid copy-and-paste setting, with its valid values."""
    wanted, problems = config.copy_paste, []
    choices = {"level": LEVELS, "variant": VARIANTS, "source_kind": KINDS}
    for name, known in choices.items():
        if wanted[name] not in known:
            names = ", ".join(map(repr, known))
            problems.append(f"copy_paste.{name} is {wanted[name]!r}; it must be one of {names}")
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
    if wanted.level == "none":
        return problems
    if wanted.source_kind == "training_set" and (wanted.sources or wanted.source_masks):
        problems.append(
            "copy_paste.source_kind is 'training_set', so copy_paste.sources and source_masks must "
            "be empty"
        )
    if wanted.source_kind == "celebamask_hq" and not wanted.sources:
        problems.append("copy_paste.sources is empty; name the folder CelebAMask-HQ")
    if wanted.source_masks and (not wanted.sources or wanted.source_kind != "folder"):
        problems.append("copy_paste.source_masks requires a folder of faces in copy_paste.sources")
    return problems


def find_copy_paste(
    config: ConfigDict, workdir: Path, dataset: DataSet, root: Path, *, obfuscated: bool
) -> CopyPaste | None:
    """Returns the recipe for copy and paste, with its faces; None if `config` turns it off.

    Args:
      dataset: the training set, without the held-out pictures.
      root: the data set's folder.
      obfuscated: whether faces are obfuscated while pictures are read.

    Raises:
      DataSetError: there are no faces to copy, or no faces to paste onto, or the faces to copy are
        the ones that the data set hides.
    """
    wanted = config.copy_paste
    if wanted.level == "none":
        return None
    if not any(example.private if obfuscated else example.facemask for example in dataset.examples):
        raise DataSetError(
            f"{dataset.root}: no picture has a face mask, so faces cannot be pasted; name the "
            "folder of masks with --config.data.facemasks=..., or turn copy and paste off with "
            "--config.copy_paste.level=none."
        )
    return CopyPaste(
        sources=_find_sources(config, workdir, dataset, root, obfuscated),
        probability=wanted.probability,
        variant=wanted.variant,
        rotation=wanted.rotation,
        scale=tuple(wanted.scale),
        flip=wanted.flip,
        level=wanted.level,
        first_step=start_step(config, len(dataset.examples)) if wanted.level == "feature" else 0,
        source_batch=wanted.source_batch,
        source_size=wanted.source_size,
    )


def _find_sources(
    config: ConfigDict, workdir: Path, dataset: DataSet, root: Path, obfuscated: bool
) -> tuple[FaceSource, ...]:
    wanted = config.copy_paste
    if wanted.source_kind == "training_set":
        return training_set_faces(dataset, obfuscated=obfuscated)
    if not wanted.sources:
        if dataset.synthetic:
            return synthetic_faces(root)
        raise DataSetError(
            f"{root}: copy and paste has no faces to copy. Name a folder of faces with "
            "--config.copy_paste.sources=... (and their masks with "
            "--config.copy_paste.source_masks=...; without it the program finds the faces). For "
            "CelebAMask-HQ add --config.copy_paste.source_kind=celebamask_hq. Or copy the training "
            "set's own faces with --config.copy_paste.source_kind=training_set."
        )
    if not dataset.synthetic:
        _refuse_hidden_faces(user_path(wanted.sources), dataset, root)
    cache = wanted.source_cache or workdir / CACHE_FOLDER
    if wanted.source_kind == "celebamask_hq":
        return celebamask_hq_faces(wanted.sources, cache=cache)
    return folder_faces(wanted.sources, masks=wanted.source_masks or None, cache=cache)


def _refuse_hidden_faces(folder: Path, dataset: DataSet, root: Path) -> None:
    """Raises `DataSetError` if `folder` belongs to the data set.

    The faces of its people are not public, whether the data set hides them or not.
    """
    own = {example.picture.parent.resolve() for example in dataset.examples} | {root.resolve()}
    if any(place in own for place in (folder.resolve(), *folder.resolve().parents)):
        raise DataSetError(
            f"{folder}: belongs to the training set, whose clear faces must not be copied; name "
            "other faces, or use --config.copy_paste.source_kind=training_set, which copies these "
            "faces as training sees them."
        )


def identity_of_faces(copy_paste: CopyPaste | None) -> dict:
    """Returns the number and a hash of the faces that a run copies; {} without copy and paste.

    The run's folder records them, so that a resumed run copies the same faces.
    """
    if copy_paste is None:
        return {}
    stems = "\n".join(face.stem for face in copy_paste.sources)
    return {
        "faces_to_copy": len(copy_paste.sources),
        "sha256_of_faces": hashlib.sha256(stems.encode("utf-8", "surrogateescape")).hexdigest(),
    }
