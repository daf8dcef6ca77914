"""Foregrounds and backgrounds for the composition loss, estimated once and kept in a cache.

The loss composes prediction, foreground F and background B to the picture I = a F + (1 - a) B. The
newer archive of P3M-10k ships F and B; where they are missing they are estimated here.

The cache holds `fg/STEM.png`, `bg/STEM.jpg`, and `sources.jsonl` with one line per finished pair:
the sizes in bytes of the picture and matte it was made from. They survive copying the data set,
and give away a cache that was made for other pictures of equal names.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from p3m_jax.data.folders import DataSetError, user_path
from p3m_jax.data.layouts import CACHE_FOLDERS, DataSet, Example
from p3m_jax.foreground import estimate_foreground
from p3m_jax.images import ImageError, read_matte, read_picture, write_image

SOURCES = "sources.jsonl"
_NAMED = 10  # broken pictures that an error names


def estimate_missing(
    dataset: DataSet, cache, *, workers: int | None = None, progress: bool = True
) -> int:
    """Fills `cache` with the foregrounds and backgrounds that `dataset` lacks; returns how many.

    What a former, perhaps killed, call finished is not done again; `training_set(root,
    foreground_cache=cache)` then finds everything. `workers` is the number of threads (default: one
    per core), `progress` shows a bar. Cheap if there is nothing to do.

    Raises `DataSetError` at once if the cache cannot be written, was made from other pictures or
    holds what was not estimated here, and at the end, after all others are done, if some pictures
    cannot be used.
    """
    cache = user_path(cache)
    missing = missing_pairs(dataset.examples, cache)
    if not missing:
        return 0
    _make_folders(cache)
    broken = []
    with (
        _bar(len(missing), progress) as bar,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        (cache / SOURCES).open("a", encoding="utf-8") as sources,
    ):
        futures = {pool.submit(_estimate, example, cache): example for example in missing}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except (ImageError, DataSetError) as error:
                    broken.append(str(error))
                else:
                    sources.write(json.dumps(_source(futures[future])) + "\n")
                    sources.flush()
                bar.update()
        except OSError as error:
            raise _unwritable(cache, error) from error
        finally:
            pool.shutdown(cancel_futures=True)
    if broken:
        more = f" (and {len(broken) - _NAMED} more)" if len(broken) > _NAMED else ""
        raise DataSetError(
            f"{len(broken)} of {len(missing)} foregrounds could not be estimated, the others are "
            f"done: {' '.join(sorted(broken)[:_NAMED])}{more}"
        )
    return len(missing)


def _paths(cache: Path, stem: str) -> tuple[Path, Path]:
    return cache / "fg" / f"{stem}.png", cache / "bg" / f"{stem}.jpg"


def missing_pairs(examples: Iterable[Example], cache) -> list[Example]:
    """The examples without a pair of their own or a finished one in the cache.

    Raises `DataSetError` for a cache that was made from other pictures, and for a folder that is no
    cache but holds fg/ or bg/: estimating would overwrite what is in them.
    """
    cache = user_path(cache)
    known, cached = _read_sources(cache), (cache / "fg").resolve()
    missing = []
    for example in examples:
        paths = _paths(cache, example.stem)
        # A pair in the cache may or may not have been assigned to the example already.
        pair = example.foreground and example.background
        if pair and example.foreground.parent.resolve() != cached:
            continue
        if example.stem in known and known[example.stem] != _source(example):
            raise DataSetError(
                f"{paths[0]}: was estimated from another picture or matte than "
                f"{example.picture}; name another folder for the cache, or empty this one."
            )
        if example.stem not in known or not all(map(_is_written, paths)):
            missing.append(example)
    if missing and not (cache / SOURCES).exists() and _holds_files(cache):
        raise DataSetError(
            f"{cache}: holds fg/ or bg/ that p3m estimate has not written; name another folder."
        )
    return missing


def _is_written(path: Path) -> bool:
    """False for an empty file, too, which a machine that went down may leave."""
    return path.is_file() and path.stat().st_size > 0


def _holds_files(cache: Path) -> bool:
    folders = [cache / name for name in CACHE_FOLDERS.values()]
    return any(any(folder.iterdir()) for folder in folders if folder.is_dir())


def _source(example: Example) -> dict:
    """What identifies the picture and matte that a pair was estimated from."""
    try:
        sizes = [path.stat().st_size for path in (example.picture, example.matte)]
    except OSError as error:
        raise DataSetError(
            f"{error.filename}: cannot be read ({error.strerror}); replace it."
        ) from None
    return {"stem": example.stem, "picture_bytes": sizes[0], "matte_bytes": sizes[1]}


def _read_sources(cache: Path) -> dict[str, dict]:
    sources = {}
    try:
        lines = (cache / SOURCES).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unwritable(cache, error) from error
    for line in lines:
        # A line that was cut off when a run was killed does not count: its pair is estimated again.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            source = json.loads(line)
            sources[source["stem"]] = source
    return sources


def _estimate(example: Example, cache: Path) -> None:
    picture, matte = read_picture(example.picture), read_matte(example.matte)
    if picture.shape[:2] != matte.shape:
        (height, width), (rows, columns) = picture.shape[:2], matte.shape
        raise DataSetError(
            f"{example.picture}: is {width} x {height} pixels, its matte {columns} x {rows}; "
            "replace the wrong one."
        )
    for path, estimate in zip(
        _paths(cache, example.stem), estimate_foreground(picture, matte), strict=True
    ):
        write_image(path, estimate)


def _make_folders(cache: Path) -> None:
    try:
        for folder in ("fg", "bg"):
            (cache / folder).mkdir(parents=True, exist_ok=True)
        with (cache / SOURCES).open("a+b") as sources:
            # A line that a killed run left unfinished must not swallow the next one.
            sources.seek(max(sources.tell() - 1, 0))
            if sources.read(1) not in (b"", b"\n"):
                sources.write(b"\n")
    except OSError as error:
        raise _unwritable(cache, error) from error


def _unwritable(cache: Path, error: OSError) -> DataSetError:
    return DataSetError(
        f"{cache}: the cache of foregrounds cannot be written ({error.strerror or error}); make "
        "room, or name a folder that you may write to. What is finished is kept."
    )


def _bar(total: int, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc="foregrounds", unit="picture", disable=not progress)
