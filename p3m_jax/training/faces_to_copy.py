"""Finds the faces that a run copies and pastes over the faces in its training pictures."""

import hashlib
from pathlib import Path

from p3m_jax.copy_paste.recipe import CopyPaste, FaceSource
from p3m_jax.copy_paste.sources import (
    celebamask_hq_faces,
    folder_faces,
    synthetic_faces,
    training_set_faces,
)
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.sets import DataSet
from p3m_jax.storage.paths import user_path
from p3m_jax.training.settings import CopyPasteSettings

CACHE_FOLDER = "face_masks"


def find_copy_paste(
    wanted: CopyPasteSettings, workdir: Path, dataset: DataSet, root: Path, *, obfuscated: bool
) -> CopyPaste:
    """Finds the faces to copy; returns the recipe `wanted.recipe` with these faces added.

    Also sets the recipe's `first_step`, the number of steps before pasting starts.

    Args:
      wanted: the settings of copy and paste.
      workdir: the run's folder.
      dataset: the training set, without the held-out pictures.
      root: the data set's folder.
      obfuscated: whether faces are obfuscated while pictures are read.

    Raises:
      DataSetError: there are no faces to copy, no training picture has a face to paste over, or
        the folder of faces to copy belongs to the data set.
    """
    if not any(example.private if obfuscated else example.facemask for example in dataset.examples):
        raise DataSetError(
            f"{dataset.root}: no picture has a face mask, so faces cannot be pasted; choose the "
            "folder of masks with --config.data.facemasks=..., or turn copy and paste off with "
            "--config.copy_paste.level=none."
        )
    return wanted.recipe._replace(
        sources=_find_sources(wanted, workdir, dataset, root, obfuscated),
        first_step=wanted.start.in_steps(len(dataset.examples)) if wanted.features else 0,
    )


def _find_sources(
    wanted: CopyPasteSettings, workdir: Path, dataset: DataSet, root: Path, obfuscated: bool
) -> tuple[FaceSource, ...]:
    if wanted.kind == "training_set":
        return training_set_faces(dataset, obfuscated=obfuscated)
    if not wanted.folder:
        if dataset.synthetic:
            return synthetic_faces(root)
        raise DataSetError(
            f"{root}: copy and paste has no faces to copy. Choose a folder of faces with "
            "--config.copy_paste.sources=... (and their masks with "
            "--config.copy_paste.source_masks=...; without it the program finds the faces). For "
            "CelebAMask-HQ add --config.copy_paste.source_kind=celebamask_hq. Or copy the training "
            "set's own faces with --config.copy_paste.source_kind=training_set."
        )
    if not dataset.synthetic:
        _refuse_hidden_faces(user_path(wanted.folder), dataset, root)
    cache = wanted.cache or workdir / CACHE_FOLDER
    if wanted.kind == "celebamask_hq":
        return celebamask_hq_faces(wanted.folder, cache=cache)
    return folder_faces(wanted.folder, masks=wanted.masks, cache=cache)


def _refuse_hidden_faces(folder: Path, dataset: DataSet, root: Path) -> None:
    """Raises `DataSetError` if the folder of faces to copy belongs to the data set.

    Unobfuscated faces of the people in the data set must not be copied.
    """
    own = {example.picture.parent.resolve() for example in dataset.examples} | {root.resolve()}
    if any(place in own for place in (folder.resolve(), *folder.resolve().parents)):
        raise DataSetError(
            f"{folder}: belongs to the training set, whose clear faces must not be copied; "
            "choose another folder, or set --config.copy_paste.source_kind=training_set to copy "
            "these faces as training sees them."
        )


def identity_of_faces(copy_paste: CopyPaste | None) -> dict:
    """Returns the number of faces to copy and a hash of their names, to identify them.

    The run's folder records both, to check that a resumed run copies the same faces. Returns {} if
    copy and paste is off.
    """
    if copy_paste is None:
        return {}
    stems = "\n".join(face.stem for face in copy_paste.sources)
    return {
        "faces_to_copy": len(copy_paste.sources),
        "sha256_of_faces": hashlib.sha256(stems.encode("utf-8", "surrogateescape")).hexdigest(),
    }
