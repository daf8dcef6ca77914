"""The face areas of a data set's pictures: found once, cached, and obfuscated in training.

A cache contains a label map of each picture's face areas, `private/STEM.png`, see
`p3m_jax.faces.region`. The face areas do not include the matte's transition area. A cache contains
no pixels of the pictures.

If a picture has a face mask, the mask defines the face areas; an empty mask means that there is no
face. A face finder then only adds faces that the mask misses, and each of them raises a doubt, a
reason for a person to review the picture. Without a mask, the face finder finds all faces. A
picture with a doubt is not used until it is reviewed, that is, until its stem is in the cache's
file `reviewed.txt`.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from p3m_jax.data.folders import DataSetError, name_some
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.derived.cache import Cache, read_pair
from p3m_jax.derived.filling import Engine, fill
from p3m_jax.faces.areas import find_private_areas
from p3m_jax.faces.finding import FaceFinder, Find
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.weights import find_weights
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_face_mask, read_label_map
from p3m_jax.pictures.sizes import require_size
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import write_text
from p3m_jax.storage.paths import user_path
from p3m_jax.text import shown

REVIEWED, TO_REVIEW = "reviewed.txt", "to_review.txt"


def private_cache(folder: StrPath) -> Cache:
    """Returns the cache of face areas in `folder`."""
    return Cache(
        user_path(folder),
        what="face areas",
        made="found",
        files=lambda stem: (Path("private", f"{stem}.png"),),
        roles=("picture", "matte", "facemask"),
        settings={"masks": "checked"},  # rejects caches made before face masks were checked
    )


# Created in every process that searches for faces, because networks cannot be sent between them.
_own_finder = functools.cache(FaceFinder)


@dataclass(frozen=True)
class FindAreas:
    """Finds the face areas of an example, and writes their label map.

    Pass an object of this class to `p3m_jax.derived.filling.fill` as `make`.

    Attributes:
      finder: finds the faces; by default a `FaceFinder`.
      drawn: whether this project drew the portraits, so that their face masks are correct. Faces
        are then searched for only in portraits without a mask.
    """

    finder: Find | None = None
    drawn: bool = False

    def __call__(self, example: Example, paths: tuple[Path, ...]) -> dict:
        """Writes the label map, and returns the doubts; `UserError` if the picture is unusable."""
        picture, matte = read_pair(example)
        mask = None if example.facemask is None else _mask(example, matte.shape)
        finder = (self.finder or _own_finder()) if self.searches(example) else None
        areas = find_private_areas(picture, matte=matte, mask=mask, finder=finder)
        write_image(paths[0], areas.private)
        return {"doubts": areas.doubts}

    def searches(self, example: Example) -> bool:
        """Whether faces are searched for in this example."""
        return example.facemask is None or not self.drawn


def find_missing_areas(
    dataset: DataSet,
    folder: StrPath,
    *,
    finder: Find | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Finds the face areas that the cache in `folder` lacks, and writes them there.

    Returns the number of pictures that the cache lacked. Resuming, arguments and errors are as for
    `p3m_jax.derived.foregrounds.estimate_missing`.

    Raises:
      FaceWeightsError: faces must be searched for and the weights are not installed.
    """
    cache, find = private_cache(folder), FindAreas(finder, dataset.synthetic)
    if finder is None and any(map(find.searches, cache.missing(dataset.examples))):
        for name in ("yunet", "mesh"):  # reports missing weights once, before the work starts
            find_weights(name)
    return fill(cache, dataset.examples, find, engine=engine, workers=workers, progress=progress)


def list_doubtful(dataset: DataSet, folder: StrPath) -> dict[str, list[str]]:
    """Returns {stem: doubts} of unreviewed pictures, and writes them to `to_review.txt`.

    Doubts are reasons for a person to review a picture's face areas. A picture whose stem is in
    `reviewed.txt` is reviewed, and its areas count as correct. Both files are in the cache's
    folder.
    """
    cache = private_cache(folder)
    doubtful = _to_review(cache, dataset.examples)
    if doubtful or (cache.folder / TO_REVIEW).exists():
        lines = [f"{shown(stem)}\t{', '.join(doubts)}\n" for stem, doubts in doubtful.items()]
        write_text(cache.folder / TO_REVIEW, "".join(lines))
    return doubtful


def with_private_areas(
    dataset: DataSet,
    folder: StrPath,
    *,
    leave_out: bool = False,
    finder: Find | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DataSet:
    """Returns the data set with the face areas of its pictures, from the cache in `folder`.

    Areas that the cache lacks are found first.

    Args:
      leave_out: leaves out pictures that need review; by default they are an error.
      finder: finds the faces; by default a `FaceFinder`.
      engine, workers, progress: as for `find_missing_areas`.

    Raises:
      DataSetError: the cache cannot be used, or pictures need review. The cache's file
        `to_review.txt` lists these pictures. Once their stems are in its file `reviewed.txt`, their
        areas count as correct.
      FaceWeightsError: faces must be searched for and the weights are not installed.
    """
    find_missing_areas(
        dataset, folder, finder=finder, engine=engine, workers=workers, progress=progress
    )
    cache, doubtful = private_cache(folder), list_doubtful(dataset, folder)
    if doubtful and not leave_out:
        raise DataSetError(
            f"{dataset.root}: {name_some(doubtful)} must be reviewed before training on obfuscated "
            f"faces: no face was found, or there is a doubt (see {cache.folder / TO_REVIEW}). "
            f"Correct wrong masks in {cache.folder / 'private'} (black: no face) and add the names "
            f"to {cache.folder / REVIEWED}, or leave these pictures out "
            "with --config.data.doubtful=leave_out (p3m estimate: --doubtful=leave_out)."
        )
    examples = tuple(
        replace(example, private=cache.paths(example.stem)[0])
        for example in dataset.examples
        if example.stem not in doubtful
    )
    return replace(dataset, examples=examples)


def _to_review(cache: Cache, examples: Iterable[Example]) -> dict[str, list[str]]:
    """Returns the doubts about the pictures that are not reviewed, by stem."""
    notes, reviewed = cache.notes(), set()
    if (cache.folder / REVIEWED).is_file():
        lines = (cache.folder / REVIEWED).read_text("utf-8", errors="replace").splitlines()
        reviewed = {line.split("\t")[0].strip() for line in lines}
    doubts = {
        e.stem: notes.get(e.stem, {}).get("doubts")
        for e in examples
        if shown(e.stem) not in reviewed
    }
    return {stem: found for stem, found in doubts.items() if found}


def _mask(example: Example, size: tuple[int, int]) -> np.ndarray:
    assert example.facemask is not None  # else faces are searched for
    mask = read_face_mask(example.facemask, several_channels=example.published)
    require_size(example.facemask, mask.shape, size, "matte")
    return mask


def obfuscated(
    example: Example, picture: np.ndarray, obfuscation: Obfuscation | None
) -> np.ndarray:
    """Obfuscates the face areas of an example's picture, as training does.

    `picture` and the result are uint8 (H, W, 3). If `obfuscation` is None, nothing changes.
    """
    if obfuscation is None:
        return picture
    assert example.private is not None  # `with_private_areas` adds it
    labels = read_label_map(example.private)
    remedy = "delete it, and the next run makes it again"
    require_size(example.private, labels.shape, picture.shape[:2], remedy=remedy)
    return obfuscate(picture, labels, obfuscation)


def read_obfuscated(example: Example, obfuscation: Obfuscation | None) -> np.ndarray:
    """Reads an example's picture and obfuscates its face areas, as training does; uint8 (H, W, 3).

    If `obfuscation` is None, nothing is obfuscated.
    """
    return obfuscated(example, read_picture(example.picture), obfuscation)
