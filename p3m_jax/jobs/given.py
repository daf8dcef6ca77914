"""Files that are given for the pictures of a collection: mattes, face masks."""

from pathlib import Path, PurePath

from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.images import ImageError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def find_if_given(folder: Path, job: Job) -> Path | None:
    """The file for a picture in a folder with the tree and names of the pictures, or None.

    With full names it is called a.jpg.png, or a.png where that can mean no other picture.

    Raises:
      ImageError: there is only an a.png, and a.jpg is not the only picture that it could be for.
    """
    path = _find(folder, job.name)
    plain = job.name.with_name(job.source.stem)
    if path is not None or plain == job.name:
        return path
    path = _find(folder, plain)
    if path is not None and job.twin is not None:
        raise ImageError(
            f"{path}: could be for {job.source} or for {job.twin}; rename it after its picture, "
            f"such as {job.name}{path.suffix}."
        )
    return path


def find_given(folder: Path, job: Job, what: str = "matte") -> Path:
    """As `find_if_given`, but raises `ImageError` if it finds none."""
    path = find_if_given(folder, job)
    if path is None:
        raise ImageError(
            f"{folder / job.name}.png: there is no such {what} for {job.source}; add it."
        )
    return path


def is_given(folder: Path, job: Job) -> bool:
    """Whether a folder has a file for a picture, or one that could be for it."""
    try:
        return find_if_given(folder, job) is not None
    except ImageError:
        return True


def _find(folder: Path, name: PurePath) -> Path | None:
    paths = (folder / f"{name}{ending}" for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def require_size(path: Path, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises `ImageError` unless a file has the size of its picture; both (height, width)."""
    if shape != size:
        raise ImageError(
            "{}: is {} x {}, its picture {} x {}; replace the wrong one.".format(
                path, *shape[::-1], *size[::-1]
            )
        )
