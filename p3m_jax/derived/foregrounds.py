"""Foregrounds and backgrounds for the composition loss, estimated once and cached.

The loss compares the picture with a F + (1 - a) B, where a is the predicted alpha, F the foreground
and B the background. The newer archive of P3M-10k includes F and B. If they are missing, this
module estimates them and writes them to `fg/STEM.png` and `bg/STEM.jpg` in a cache. If training
obfuscates faces, they are obfuscated before the estimation, so that F shows no clear face.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p3m_jax.data.layouts import CACHE_FOLDERS
from p3m_jax.data.sets import DataSet, Example
from p3m_jax.derived.cache import Cache, read_pair
from p3m_jax.derived.filling import Engine, fill
from p3m_jax.derived.private_areas import obfuscated
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import write_image
from p3m_jax.storage import StrPath
from p3m_jax.storage.paths import user_path


def foreground_cache(folder: StrPath, obfuscation: Obfuscation | None = None) -> Cache:
    """Returns the cache of foregrounds and backgrounds in `folder`.

    `obfuscation` is applied to the pictures' face areas before the estimation.
    """
    roles: tuple[str, ...] = ("picture", "matte")
    settings: dict[str, Any] = {}
    if obfuscation is not None:
        roles, settings = (*roles, "private"), {"obfuscation": list(obfuscation)}
    return Cache(
        user_path(folder),
        what="foregrounds",
        made="estimated",
        files=lambda stem: (Path("fg", f"{stem}.png"), Path("bg", f"{stem}.jpg")),
        roles=roles,
        settings=settings,
    )


@dataclass(frozen=True)
class EstimateForeground:
    """Estimates foreground and background of an example, and writes them.

    Pass an object of this class to `p3m_jax.derived.filling.fill` as `make`.

    Attributes:
      obfuscation: applied to the example's face areas before the estimation.
    """

    obfuscation: Obfuscation | None = None

    def __call__(self, example: Example, paths: tuple[Path, ...]) -> dict:
        """Writes the two files; `UserError` if the picture cannot be used."""
        picture, matte = read_pair(example)
        picture = obfuscated(example, picture, self.obfuscation)
        for path, estimate in zip(paths, estimate_foreground(picture, matte), strict=True):
            write_image(path, estimate)
        return {}


def estimate_missing(
    dataset: DataSet,
    folder: StrPath,
    *,
    obfuscation: Obfuscation | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Estimates the foregrounds and backgrounds that a data set lacks, into the cache `folder`.

    Returns the number of pictures for which they were estimated. Pictures that an earlier call
    finished are skipped, even if that call was killed. If all are finished, the call is cheap.
    `training_set(root, foreground_cache=folder)` then finds the files.

    Args:
      obfuscation: applied to the face areas before the estimation.
      engine: does the work; by default threads of this process.
      workers: number of these threads, by default one per core.
      progress: shows a bar, and at the end the cost per picture.

    Raises:
      DataSetError: at once if the cache cannot be written, was made from other pictures, or
        contains files that were not estimated here; at the end, when all others are done, if some
        pictures cannot be used.
    """
    cache = foreground_cache(folder, obfuscation)
    lacking = without_own_pair(dataset.examples, cache.folder)
    return fill(
        cache,
        lacking,
        EstimateForeground(obfuscation),
        engine=engine,
        workers=workers,
        progress=progress,
    )


def without_own_pair(examples: Iterable[Example], folder: Path) -> list[Example]:
    """Returns the examples whose data set lacks their foreground or background.

    Files in the cache `folder` do not count as the data set's own.
    """
    cached = (folder / CACHE_FOLDERS["foreground"]).resolve()
    return [
        example
        for example in examples
        if not (example.foreground and example.background)
        or example.foreground.parent.resolve() == cached
    ]
