"""The private areas of a data set's pictures: found once, cached, and kept from training.

A cache holds `private/STEM.png`, the label maps of `p3m_jax.faces.region` with the matte's
transition area taken out, and nothing of the pictures. Where a data set has face masks, they say
what is private (an empty one: nothing), and the search only finds out what they miss; elsewhere it
finds the faces. A picture with a doubt is not used before it was reviewed: see `REVIEWED`.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from p3m_jax.data.folders import DataSetError, name_some, user_path
from p3m_jax.data.layouts import DataSet, Example
from p3m_jax.derived.cache import Cache, read_pair
from p3m_jax.derived.filling import Engine, fill
from p3m_jax.faces.areas import find_private_areas
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.weights import find_weights
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_face_mask, read_label_map
from p3m_jax.storage.files import write_text
from p3m_jax.text import shown

REVIEWED, TO_REVIEW = "reviewed.txt", "to_review.txt"


def private_cache(folder) -> Cache:
    """The cache of private areas in `folder`."""
    return Cache(
        user_path(folder),
        what="private areas",
        made="found",
        files=lambda stem: (Path("private", f"{stem}.png"),),
        roles=("picture", "matte", "facemask"),
        settings={"masks": "checked"},  # caches made before face masks were checked do not count
    )


# Made in every process that looks for faces: networks do not travel from one to the other.
_own_finder = functools.cache(FaceFinder)


@dataclass(frozen=True)
class FindAreas:
    """Finds and writes the private areas of one example; the work of a cache.

    Attributes:
      finder: finds faces as `FaceFinder`, the default, does.
      drawn: the portraits were drawn together with their face masks, which are therefore true.
    """

    finder: Callable | None = None
    drawn: bool = False

    def __call__(self, example: Example, paths: tuple[Path, ...]) -> dict:
        """Writes the label map and returns the doubts; `UserError` if the picture is of no use."""
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
    folder,
    *,
    finder=None,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Fills a cache with the private areas of a data set's pictures; returns of how many.

    The same as `p3m_jax.derived.foregrounds.estimate_missing` but for what it makes. Raises
    `FaceWeightsError`, too, where faces must be searched for and the weights are not installed.
    """
    cache, find = private_cache(folder), FindAreas(finder, dataset.synthetic)
    if finder is None and any(map(find.searches, cache.missing(dataset.examples))):
        for name in ("yunet", "mesh"):  # said once, and before anything is done
            find_weights(name)
    return fill(cache, dataset.examples, find, engine=engine, workers=workers, progress=progress)


def list_doubtful(dataset: DataSet, folder) -> dict[str, list[str]]:
    """The doubts about pictures that nobody has looked at, by stem, kept in `to_review.txt`, too.

    A stem in `reviewed.txt` counts as looked at and found right.
    """
    cache = private_cache(folder)
    doubtful = _to_review(cache, dataset.examples)
    if doubtful or (cache.folder / TO_REVIEW).exists():
        lines = [f"{shown(stem)}\t{', '.join(doubts)}\n" for stem, doubts in doubtful.items()]
        write_text(cache.folder / TO_REVIEW, "".join(lines))
    return doubtful


def with_private_areas(
    dataset: DataSet,
    folder,
    *,
    leave_out: bool = False,
    finder=None,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DataSet:
    """The data set with the private areas of its pictures, found into a cache where need be.

    Args:
      leave_out: leaves out pictures that somebody would have to look at; by default they are an
        error.
      finder: finds faces as `FaceFinder`, the default, does.
      engine, workers, progress: as `find_missing_areas` takes them.

    Raises:
      DataSetError: the cache cannot be used, or there are pictures to look at. They are listed in
        `to_review.txt`; a stem in `reviewed.txt` counts as looked at and found right.
      FaceWeightsError: faces must be searched for and the weights are not installed.
    """
    find_missing_areas(
        dataset, folder, finder=finder, engine=engine, workers=workers, progress=progress
    )
    cache, doubtful = private_cache(folder), list_doubtful(dataset, folder)
    if doubtful and not leave_out:
        raise DataSetError(
            f"{dataset.root}: {name_some(doubtful)} must be reviewed before training on obfuscated "
            f"faces: no face was found, or there is a doubt ({cache.folder / TO_REVIEW} says why). "
            f"Correct the masks in {cache.folder / 'private'} where they are wrong (black: no "
            f"face) and put the names into {cache.folder / REVIEWED}, or leave these pictures out "
            "with --config.data.doubtful=leave_out (p3m estimate: --doubtful=leave_out)."
        )
    examples = tuple(
        replace(example, private=cache.paths(example.stem)[0])
        for example in dataset.examples
        if example.stem not in doubtful
    )
    return replace(dataset, examples=examples)


def _to_review(cache: Cache, examples: Iterable[Example]) -> dict[str, list[str]]:
    """The doubts about the pictures that nobody has looked at, by stem."""
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
    mask = read_face_mask(example.facemask, several_channels=example.published)
    if mask.shape != size:
        raise DataSetError(
            f"{example.facemask}: is {mask.shape[1]} x {mask.shape[0]} pixels, its matte "
            f"{size[1]} x {size[0]}; replace the wrong one."
        )
    return mask


def obfuscated(
    example: Example, picture: np.ndarray, obfuscation: Obfuscation | None
) -> np.ndarray:
    """A picture (H, W, 3) of an example as training may see it; both uint8."""
    if obfuscation is None:
        return picture
    labels = read_label_map(example.private)
    if labels.shape != picture.shape[:2]:
        raise DataSetError(
            f"{example.private}: does not have the size of {example.picture}; delete it to have it "
            "made again."
        )
    return obfuscate(picture, labels, obfuscation)


def read_obfuscated(example: Example, obfuscation: Obfuscation | None) -> np.ndarray:
    """The picture of an example as training may see it, uint8 (H, W, 3)."""
    return obfuscated(example, read_picture(example.picture), obfuscation)
