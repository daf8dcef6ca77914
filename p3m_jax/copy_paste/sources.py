"""Finds the faces to copy in the user's data, and lists them as `FaceSource`s.

Nothing is downloaded. If pictures have no face masks, the masks are made once and cached. For
CelebAMask-HQ they are combined from the masks of the parts of a face. For other folders they are
made from landmarks of the largest face in a picture. Faces that are found only with doubts are
ignored, see `p3m_jax.faces.finding`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

from p3m_jax.copy_paste.recipe import FaceSource
from p3m_jax.data.celebamask import CelebAFace, face_mask, scan_celebamask
from p3m_jax.data.folders import DataSetError, list_folder, name_some
from p3m_jax.data.sets import DataSet
from p3m_jax.data.synthetic.writer import FACES_FOLDER
from p3m_jax.derived.cache import Cache
from p3m_jax.derived.filling import fill
from p3m_jax.faces.finding import FaceFinder, Find
from p3m_jax.faces.region import face_hull, label_map
from p3m_jax.pictures.images import (
    open_picture,
    orientation,
    picture_size,
    read_picture,
    write_image,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.pictures.sizes import require_size
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.paths import source_folder, user_path
from p3m_jax.text import say, shown

KINDS = ("folder", "celebamask_hq", "training_set")
_FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class _Picture:
    """A picture in a folder, with the attribute names that a cache expects of its sources."""

    stem: str
    picture: Path


def synthetic_faces(root: StrPath) -> tuple[FaceSource, ...]:
    """Lists the public faces of the synthetic set at `root`; `DataSetError` if it has none."""
    folder = user_path(root) / FACES_FOLDER
    if not (folder / "image").is_dir() or not (folder / "mask").is_dir():
        raise DataSetError(
            f"{folder}: this synthetic set has no faces to copy; set a folder of faces with "
            "--config.copy_paste.sources=..., or write the set again with `p3m synthesize`."
        )
    return folder_faces(folder / "image", masks=folder / "mask")


def folder_faces(
    folder: StrPath,
    *,
    masks: StrPath | None = None,
    cache: StrPath | None = None,
    finder: Find | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[FaceSource, ...]:
    """Lists the faces in a folder of pictures, sorted by stem.

    Args:
      masks: folder of face masks with the pictures' stems and sizes.
      cache: folder for masks made from landmarks, required if `masks` is not given. A picture in
        which no face is found with certainty is left out. A printed line lists the pictures that
        are left out.
      finder: finds faces and their landmarks; by default a `FaceFinder`.
      workers: number of threads, by default one per core.
      progress: whether to show a bar.

    Raises:
      DataSetError: no face exists, masks are missing, or the pipeline cannot read a picture (it
        reads JPEG and PNG, stored upright).
      ImageError: the sizes of a mask and its picture differ.
      FaceWeightsError: faces must be searched for and the weights are not installed.
    """
    folder = source_folder(folder)
    files = _listed(folder)
    if masks is not None:
        return _with_masks(folder, files, source_folder(masks), progress)
    pictures = [_Picture(stem, path) for stem, path in sorted(files.items())]
    if cache is None:
        raise ValueError("folder_faces needs the masks, or a cache for those that it makes.")
    kept = _mask_cache(cache, ("picture",), "found")
    find = (finder or FaceFinder()) if kept.missing(pictures) else None

    def make(picture: _Picture, paths: tuple[Path, ...]) -> dict:
        _require_pipeline_reads(picture.picture)
        values = read_picture(picture.picture)
        assert find is not None  # called only for missing pictures
        faces = [face for face in find(values) if not face.doubts]
        # Areas that hide a face may be too wide, but masks to copy one should have no margin.
        outlines = [face_hull(face.landmarks) for face in faces]
        polygons = [max(outlines, key=cv2.contourArea)] if faces else []
        write_image(paths[0], label_map(polygons, values.shape[:2]))
        return {"empty": not faces}

    fill(kept, pictures, make, workers=workers, progress=progress)
    return _without_empty(folder, kept, pictures, "no face found with certainty")


def celebamask_hq_faces(
    root: StrPath, *, cache: StrPath, workers: int | None = None, progress: bool = True
) -> tuple[FaceSource, ...]:
    """Lists the faces of CelebAMask-HQ, see `p3m_jax.data.celebamask`.

    The masks, combined from the part masks, are written to the folder `cache`.

    Raises:
      DataSetError: `root` is not the set's folder, or a file in it cannot be read.
    """
    faces, without = scan_celebamask(root)
    if without:
        say(shown(f"{root}: {name_some(without)} without a mask of the skin; left out."))
    kept = _mask_cache(cache, ("picture", "skin"), "combined")

    def make(face: CelebAFace, paths: tuple[Path, ...]) -> dict:
        mask = face_mask(face, picture_size(face.picture))
        write_image(paths[0], mask)
        return {"empty": not mask.any()}

    fill(kept, faces, make, workers=workers, progress=progress)
    return _without_empty(user_path(root), kept, faces, "neither brows nor eyes")


def training_set_faces(dataset: DataSet, *, obfuscated: bool) -> tuple[FaceSource, ...]:
    """Lists the faces of the training pictures themselves, from their masks.

    The masks are the pictures' face masks. If `obfuscated`, they are the areas that training
    obfuscates, and each face is obfuscated before it is copied.

    Raises:
      DataSetError: fewer than two pictures have a mask, so no picture can get another's face.
    """
    masks = {e: e.private if obfuscated else e.facemask for e in dataset.examples}
    faces = tuple(
        FaceSource(e.stem, e.picture, mask, obfuscated, published=e.published)
        for e, mask in masks.items()
        if mask
    )
    if len(faces) < 2:
        raise DataSetError(
            f"{dataset.root}: {len(faces)} of its pictures have a face mask, too few to copy faces "
            "between pictures. Set face masks with --config.data.facemasks=..., or faces to copy "
            "with --config.copy_paste.sources=...."
        )
    return faces


def _with_masks(
    folder: Path, files: Mapping[str, Path], masks: Path, progress: bool
) -> tuple[FaceSource, ...]:
    of_masks = _listed(masks)
    missing = files.keys() - of_masks.keys()
    if missing:
        raise DataSetError(
            f"{masks}: no masks for {name_some(missing)} of {folder}; add them or remove these "
            "pictures."
        )
    faces = tuple(FaceSource(stem, path, of_masks[stem]) for stem, path in sorted(files.items()))
    # For a short list, the check ends before a bar is shown.
    for face in tqdm(faces, desc="faces", unit="picture", disable=not progress, delay=1):
        _require_pipeline_reads(face.picture)
        require_size(face.mask, face.read_mask().shape, picture_size(face.picture))
    return faces


def _listed(folder: Path) -> dict[str, Path]:
    files, complaints, left_out = list_folder(folder)
    if complaints:
        raise DataSetError(complaints[0])
    if not files:
        raise DataSetError(f"{folder}: holds no pictures; choose a folder of faces.")
    warn_of(left_out)
    return files


def _require_pipeline_reads(path: Path | FilePart) -> None:
    """Raises `DataSetError` unless TensorFlow can read it: JPEG or PNG, and no EXIF rotation."""
    with open_picture(path) as image:
        if image.format not in _FORMATS:
            raise DataSetError(f"{path}: is {image.format}; faces to copy must be JPEG or PNG.")
        if orientation(image) != 1:
            raise DataSetError(
                f"{path}: is stored rotated or mirrored (EXIF), but training ignores EXIF; store "
                "it upright, for instance with `exiftran -ai` or `mogrify -auto-orient`."
            )


def _mask_cache(folder: StrPath, roles: tuple[str, ...], made: str) -> Cache:
    return Cache(
        user_path(folder),
        what="face masks",
        made=made,
        files=lambda stem: (Path("facemask", f"{stem}.png"),),
        roles=roles,
    )


def _without_empty(
    folder: Path, cache: Cache, pictures: Sequence, why: str
) -> tuple[FaceSource, ...]:
    notes = cache.notes()
    empty = [p.stem for p in pictures if notes.get(p.stem, {}).get("empty")]
    faces = tuple(
        FaceSource(p.stem, p.picture, cache.paths(p.stem)[0])
        for p in pictures
        if p.stem not in set(empty)
    )
    if not faces:
        raise DataSetError(
            f"{folder}: {why} in any picture; choose another folder of faces, or give their masks "
            "with --config.copy_paste.source_masks=..."
        )
    if empty:
        say(shown(f"{folder}: left out ({why}): {name_some(empty)}."))
    return faces
