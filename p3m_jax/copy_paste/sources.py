"""Where the faces to copy come from: lists of `FaceSource`, made from what the user has.

Nothing is downloaded. Masks that a source does not bring are made once and kept in a cache: those
of CelebAMask-HQ are put together from its parts, those of a folder without masks come from
landmarks (the largest face that is surely found).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

from p3m_jax.copy_paste.recipe import FaceSource
from p3m_jax.data.celebamask import face_mask, scan_celebamask
from p3m_jax.data.folders import (
    DataSetError,
    list_folder,
    name_some,
    picture_folder,
    user_path,
)
from p3m_jax.data.layouts import DataSet
from p3m_jax.data.synthetic.writer import FACES_FOLDER
from p3m_jax.derived.cache import Cache
from p3m_jax.derived.filling import fill
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.region import face_hull, label_map
from p3m_jax.pictures.images import (
    open_picture,
    orientation,
    picture_size,
    read_picture,
    write_image,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.text import say, shown

KINDS = ("folder", "celebamask_hq", "training_set")
_FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class _Picture:
    """A picture in a folder, as a cache names its sources."""

    stem: str
    picture: Path


def synthetic_faces(root) -> tuple[FaceSource, ...]:
    """The public faces of the synthetic set at `root`; `DataSetError` where it has none."""
    folder = user_path(root) / FACES_FOLDER
    if not (folder / "image").is_dir() or not (folder / "mask").is_dir():
        raise DataSetError(
            f"{folder}: this synthetic set has no faces to copy; name a folder of faces with "
            "--config.copy_paste.sources=..., or write the set anew with `p3m synthesize`."
        )
    return folder_faces(folder / "image", masks=folder / "mask")


def folder_faces(
    folder, *, masks=None, cache=None, finder=None, workers: int | None = None, progress=True
) -> tuple[FaceSource, ...]:
    """The faces in a folder of pictures, sorted by stem.

    Args:
      masks: folder of face masks with the pictures' stems and sizes.
      cache: folder for masks found by landmarks, where `masks` is not given. Pictures in which no
        face is surely found are left out, and a line says how many.
      finder: finds faces as `FaceFinder`, the default, does.
      workers, progress: threads (default: one per core), and whether to show a bar.

    Raises:
      DataSetError: there is no face, masks lack or have other sizes, or a picture cannot be read
        by the pipeline (it takes JPEG and PNG, stored upright).
      FaceWeightsError: faces must be searched for and the weights are not installed.
    """
    folder = picture_folder(folder)
    files = _listed(folder)
    if masks is not None:
        return _with_masks(folder, files, picture_folder(masks), progress)
    pictures = [_Picture(stem, path) for stem, path in sorted(files.items())]
    kept = _mask_cache(cache, ("picture",), "found")
    find = None

    def make(picture: _Picture, paths: tuple[Path, ...]) -> dict:
        _require_pipeline_reads(picture.picture)
        values = read_picture(picture.picture)
        faces = [face for face in find(values) if not face.doubts]
        # What hides a face is rather too wide, what shows one too narrow: no background, no margin.
        outlines = [face_hull(face.landmarks) for face in faces]
        polygons = [max(outlines, key=cv2.contourArea)] if faces else []
        write_image(paths[0], label_map(polygons, values.shape[:2]))
        return {"empty": not faces}

    if kept.missing(pictures):
        find = finder or FaceFinder()
    fill(kept, pictures, make, workers=workers, progress=progress)
    return _without_empty(folder, kept, pictures, "no face that is surely found")


def celebamask_hq_faces(
    root, *, cache, workers: int | None = None, progress=True
) -> tuple[FaceSource, ...]:
    """The faces of CelebAMask-HQ (see `p3m_jax.data.celebamask`), masks put together into `cache`.

    Raises:
      DataSetError: `root` is not the set's folder, or a file in it cannot be read.
    """
    faces, without = scan_celebamask(root)
    if without:
        say(shown(f"{root}: {name_some(without)} without a mask of the skin, left out."))
    kept = _mask_cache(cache, ("picture", "skin"), "put together")

    def make(face, paths: tuple[Path, ...]) -> dict:
        mask = face_mask(face, picture_size(face.picture))
        write_image(paths[0], mask)
        return {"empty": not mask.any()}

    fill(kept, faces, make, workers=workers, progress=progress)
    return _without_empty(user_path(root), kept, faces, "neither brows nor eyes")


def training_set_faces(dataset: DataSet, *, obfuscated: bool) -> tuple[FaceSource, ...]:
    """The faces of the training pictures themselves, by their masks.

    Where they are to be obfuscated, these are their private areas, and the faces are obfuscated
    before they are copied, too.

    Raises:
      DataSetError: fewer than two pictures have a mask, so that none has another's face to take.
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
            "from one to the other; name face masks with --config.data.facemasks=..., or faces to "
            "copy with --config.copy_paste.sources=...."
        )
    return faces


def _with_masks(folder: Path, files, masks: Path, progress: bool) -> tuple[FaceSource, ...]:
    of_masks = _listed(masks)
    missing = files.keys() - of_masks.keys()
    if missing:
        raise DataSetError(
            f"{masks}: {name_some(missing)} of {folder} without mask; add what is missing or take "
            "these pictures out."
        )
    faces = tuple(FaceSource(stem, path, of_masks[stem]) for stem, path in sorted(files.items()))
    # A short list is checked before one sees the bar.
    for face in tqdm(faces, desc="faces", unit="picture", disable=not progress, delay=1):
        _require_pipeline_reads(face.picture)
        size, of_mask = picture_size(face.picture), face.read_mask().shape
        if size != of_mask:
            raise DataSetError(
                f"{face.mask}: is {of_mask[1]} x {of_mask[0]} pixels, its picture {size[1]} x "
                f"{size[0]}; replace the wrong one."
            )
    return faces


def _listed(folder: Path) -> dict[str, Path]:
    files, complaints, left_out = list_folder(folder)
    if complaints:
        raise DataSetError(complaints[0])
    if not files:
        raise DataSetError(f"{folder}: holds no pictures; name a folder of faces.")
    warn_of(left_out)
    return files


def _require_pipeline_reads(path: Path) -> None:
    """TensorFlow reads two formats, and sees no EXIF."""
    with open_picture(path) as image:
        if image.format not in _FORMATS:
            raise DataSetError(f"{path}: is {image.format}; faces to copy are JPEG or PNG.")
        if orientation(image) != 1:
            raise DataSetError(
                f"{path}: is stored rotated or mirrored (EXIF), which training does not see; store "
                "it upright, for instance with `exiftran -ai` or `mogrify -auto-orient`."
            )


def _mask_cache(folder, roles: tuple[str, ...], made: str) -> Cache:
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
        raise DataSetError(f"{folder}: {why} in any picture; name a folder of faces, or masks.")
    if empty:
        say(shown(f"{folder}: left out for having {why}: {name_some(empty)}."))
    return faces
