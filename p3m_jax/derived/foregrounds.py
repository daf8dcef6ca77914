"""Foregrounds and backgrounds for the composition loss, estimated once and cached.

The loss composes prediction, foreground F and background B to the picture I = a F + (1 - a) B. The
newer archive of P3M-10k includes F and B. If they are missing, they are estimated here, into
`fg/STEM.png` and `bg/STEM.jpg` of a cache. If faces are obfuscated, this is done before the
estimation, so that F shows no clear face.
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
    """Returns the cache of foregrounds and backgrounds in `folder`, for this obfuscation."""
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
    """Estimates and writes foreground and background of one example: the `Make` of this cache.

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
    """Fills a cache with the foregrounds and backgrounds that `dataset` lacks; returns how many.

    Pictures that an earlier call finished are skipped, even if that call was killed. Afterwards
    `training_set(root, foreground_cache=folder)` finds all files. `engine` does the work (default:
    `workers` threads, one per core); `progress` shows a bar, and the cost. The call is cheap if
    there is nothing to do.

    Raises `DataSetError` at once if the cache cannot be written, was made from other pictures or
    contains files that were not estimated here. Raises it at the end, after all others are done, if
    some pictures cannot be used.
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
    """Returns the examples that lack foreground or background, not counting cached ones."""
    cached = (folder / CACHE_FOLDERS["foreground"]).resolve()
    return [
        example
        for example in examples
        if not (example.foreground and example.background)
        or example.foreground.parent.resolve() == cached
    ]
