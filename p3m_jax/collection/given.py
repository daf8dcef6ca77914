"""Files that are given for the pictures of a collection: mattes, face masks."""

from pathlib import Path

from p3m_jax.collection.plan import Job
from p3m_jax.images import ImageError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def find_if_given(folder: Path, job: Job) -> Path | None:
    """The file of a picture in a folder with the tree and names of the pictures, if it is there."""
    names = dict.fromkeys([job.name, job.name.with_name(job.source.stem)])
    paths = (folder / f"{name}{ending}" for name in names for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def find_given(folder: Path, job: Job, what: str = "matte") -> Path:
    """As `find_if_given`; `ImageError` if there is none."""
    path = find_if_given(folder, job)
    if path is None:
        raise ImageError(
            f"{folder / job.name}.png: there is no such {what} for {job.source}; add it."
        )
    return path


def require_size(path: Path, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises `ImageError` if a file has not its picture's size; both (height, width)."""
    if shape != size:
        raise ImageError(
            "{}: is {} x {}, its picture {} x {}; replace the wrong one.".format(
                path, *shape[::-1], *size[::-1]
            )
        )
