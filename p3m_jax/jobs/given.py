"""Finds the user's own mattes and face masks for the pictures of a collection."""

from pathlib import Path, PurePath

from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import ImageError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def find_if_given(folder: Path, job: Job) -> Path | None:
    """Finds the user's file (such as a matte) for the picture of a job; None if there is none.

    `folder` has the same subfolders and file names as the pictures: the file for sub/a.jpg is
    sub/a.png, or sub/a with the ending of another format. If outputs keep the picture's ending
    (option `--full-names`), sub/a.jpg.png is used; if it does not exist, sub/a.png is used, unless
    that file may belong to another picture, such as sub/a.webp.

    Raises:
      ImageError: the only file that exists may belong to another picture.
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
    """Finds the user's file (such as a matte) for the picture of a job.

    The search is that of `find_if_given`, but a missing file is an error.

    Args:
      folder: the folder of the user's files.
      job: the job.
      what: what the error message calls the file.

    Raises:
      ImageError: there is no file for the picture, or the file may belong to another picture.
    """
    path = find_if_given(folder, job)
    if path is None:
        raise ImageError(
            f"{folder / job.name}.png: there is no such {what} for {job.source}; add it."
        )
    return path


def is_given(folder: Path, job: Job) -> bool:
    """Whether `folder` has a file for the picture, even one that may belong to another picture."""
    try:
        return find_if_given(folder, job) is not None
    except ImageError:
        return True


def _find(folder: Path, name: PurePath) -> Path | None:
    paths = (folder / f"{name}{ending}" for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)
