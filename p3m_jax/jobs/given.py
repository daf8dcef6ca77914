"""Finds files that the user provides for the pictures of a collection: mattes, face masks."""

from pathlib import Path, PurePath

from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import ImageError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def find_if_given(folder: Path, job: Job) -> Path | None:
    """Finds the user's file for a picture in `folder`; None if there is none.

    The folder has the same subfolders and names as the pictures. With full names, the file for
    a.jpg is called a.jpg.png. It may also be called a.png if no other picture could be meant.

    Raises:
      ImageError: only a.png exists, and it could also belong to another picture than a.jpg.
    """
    path = _find(folder, job.name)
    plain = job.name.with_name(job.source.stem)
    if path is not None or plain == job.name:
        return path
    path = _find(folder, plain)
    if path is not None and job.twin is not None:
        raise ImageError(
            f"{path}: may belong to {job.source} or to {job.twin}; rename it after its picture, "
            f"for example {job.name}{path.suffix}."
        )
    return path


def find_given(folder: Path, job: Job, what: str = "matte") -> Path:
    """Finds a picture's file like `find_if_given`, but raises `ImageError` if there is none."""
    path = find_if_given(folder, job)
    if path is None:
        raise ImageError(
            f"{folder / job.name}.png: there is no such {what} for {job.source}; add it."
        )
    return path


def is_given(folder: Path, job: Job) -> bool:
    """Whether a folder holds a file for a picture, or one that may belong to it."""
    try:
        return find_if_given(folder, job) is not None
    except ImageError:
        return True


def _find(folder: Path, name: PurePath) -> Path | None:
    paths = (folder / f"{name}{ending}" for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)
