"""What a configuration says about copy and paste: checked, and made into a recipe with faces."""

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

LEVELS = ("none", "image", "feature")  # neither, P3M-ICP, P3M-FCP
CACHE_FOLDER = "face_masks"


def copy_paste_problems(config: ConfigDict) -> list[str]:
    """A clause for each setting of copy and paste that cannot work."""
    wanted, problems = config.copy_paste, []
    choices = {"level": LEVELS, "variant": VARIANTS, "source_kind": KINDS}
    for name, known in choices.items():
        if wanted[name] not in known:
            names = ", ".join(map(repr, known))
            problems.append(f"copy_paste.{name} is {wanted[name]!r}; it is one of {names}")
    for name in ("probability", "flip"):
        if not 0 <= wanted[name] <= 1:
            problems.append(f"copy_paste.{name} is {wanted[name]}; it is 0 to 1")
    if not 0 <= wanted.rotation <= 180:
        problems.append(f"copy_paste.rotation is {wanted.rotation}; it is 0 to 180 degrees")
    scale = tuple(wanted.scale)
    if len(scale) != 2 or not 0.1 <= scale[0] <= scale[1] <= 10:
        problems.append(
            f"copy_paste.scale is {scale}; it is the smallest and the largest factor, 0.1 to 10"
        )
    if wanted.level == "none":
        return problems
    if wanted.source_kind == "training_set" and (wanted.sources or wanted.source_masks):
        problems.append(
            "copy_paste.source_kind is 'training_set', so copy_paste.sources and source_masks are "
            "empty"
        )
    if wanted.source_kind == "celebamask_hq" and not wanted.sources:
        problems.append("copy_paste.sources is empty; name the folder CelebAMask-HQ")
    if wanted.source_masks and (not wanted.sources or wanted.source_kind != "folder"):
        problems.append("copy_paste.source_masks goes with a folder in copy_paste.sources")
    return problems


def find_copy_paste(
    config: ConfigDict, workdir: Path, dataset: DataSet, root: Path, *, obfuscated: bool
) -> CopyPaste | None:
    """The recipe that `config.copy_paste` asks for, with its faces; None where it asks for none.

    Args:
      dataset: the training set, without what is held out.
      root: the data set's folder.
      obfuscated: faces are obfuscated while they stream.

    Raises:
      DataSetError: there are no faces to copy or none to paste them onto, or the faces are those
        that the data set hides.
    """
    wanted = config.copy_paste
    if wanted.level == "none":
        return None
    if not any(example.private if obfuscated else example.facemask for example in dataset.examples):
        raise DataSetError(
            f"{dataset.root}: no picture has a face mask, so nothing says where faces are to be "
            "pasted; name the folder of masks with --config.data.facemasks=..., or train without "
            "with --config.copy_paste.level=none."
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
            f"{root}: no faces are named that may be copied onto its pictures; name a folder of "
            "faces of your own with --config.copy_paste.sources=... (and "
            "--config.copy_paste.source_masks=..., or masks are found), CelebAMask-HQ with "
            "--config.copy_paste.source_kind=celebamask_hq besides, or take the training set's own "
            "with --config.copy_paste.source_kind=training_set."
        )
    if not dataset.synthetic:
        _refuse_hidden_faces(user_path(wanted.sources), dataset, root)
    cache = wanted.source_cache or workdir / CACHE_FOLDER
    if wanted.source_kind == "celebamask_hq":
        return celebamask_hq_faces(wanted.sources, cache=cache)
    return folder_faces(wanted.sources, masks=wanted.source_masks or None, cache=cache)


def _refuse_hidden_faces(folder: Path, dataset: DataSet, root: Path) -> None:
    """Faces of the data set's own people are not public, whether it hides them or not."""
    own = {example.picture.parent.resolve() for example in dataset.examples} | {root.resolve()}
    if any(place in own for place in (folder.resolve(), *folder.resolve().parents)):
        raise DataSetError(
            f"{folder}: belongs to the training set, whose faces must not come back; name other "
            "faces, or take these as training sees them with "
            "--config.copy_paste.source_kind=training_set."
        )


def identity_of_faces(copy_paste: CopyPaste | None) -> dict:
    """What tells the faces of a run from others, for its folder; {} without copy and paste."""
    if copy_paste is None:
        return {}
    stems = "\n".join(face.stem for face in copy_paste.sources)
    return {
        "faces_to_copy": len(copy_paste.sources),
        "sha256_of_faces": hashlib.sha256(stems.encode("utf-8", "surrogateescape")).hexdigest(),
    }
