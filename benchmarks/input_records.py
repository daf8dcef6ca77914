"""Compares a data set in folders with the same set as records (`input_pipeline.py --records`)."""

import os
import statistics

import command_line as cli
from pipelines import on_one_thread, per_item, tf, whole_pipeline

from p3m_jax.input.contents import place_at, places, read_contents, read_record


def folders_and_records(sets: dict, roles, samples: int, rounds: int) -> list[dict]:
    """Measures seconds per sample from folders and from records, and their ratio.

    The results are medians over rounds that alternate between the two.
    """
    ways = {
        "pipeline, processor time": lambda data: whole_pipeline(data, roles, samples, 1)[1],
        "pipeline, wall time": lambda data: whole_pipeline(data, roles, samples, None)[0],
        "reading, page cache, processor time": lambda data: _reading(data, roles, samples)[1],
    }
    if hasattr(os, "posix_fadvise"):
        ways["reading, disk, wall time"] = lambda data: _from_disk(data, roles)
    rows = []
    for way, measured in ways.items():
        times = {name: [] for name in sets}
        for _ in range(rounds):
            for name, dataset in sets.items():
                times[name].append(measured(dataset))
        ratios = [r / f for f, r in zip(times["folders"], times["records"], strict=True)]
        medians = {name: statistics.median(found) for name, found in times.items()}
        ratio = {"ratio": statistics.median(ratios), "ratios": sorted(ratios)}
        rows.append({"what": way} | medians | ratio)
    return rows


def _reading(dataset, roles, samples: int) -> tuple[float, float]:
    """(wall time, processor time) per sample of only reading, with one thread."""
    files = {role: places([getattr(e, role) for e in dataset.examples]) for role in roles}

    @tf.autograph.experimental.do_not_convert
    def read(number):
        example = number % len(dataset.examples)
        record = read_record(place_at(files["matte"], example))
        contents = [read_contents(place_at(f, example), record) for f in files.values()]
        return [tf.strings.length(content) for content in contents]

    return per_item(on_one_thread(read), samples)


def _from_disk(dataset, roles) -> float:
    """Wall time per sample of reading each file once, after dropping them from the page cache."""
    files = {getattr(example, role) for example in dataset.examples for role in roles}
    for path in {getattr(file, "path", file) for file in files}:
        with path.open("rb") as opened:
            os.fsync(opened.fileno())  # data that is not on disk yet cannot be dropped
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    # The clock starts after the first sample, which is not counted.
    return _reading(dataset, roles, len(dataset.examples) - 1)[0]


def show(rows: list[dict]) -> None:
    """Prints the comparison of folders and records."""
    table = cli.Table("per sample", "folders, ms", "records, ms", "ratio (lowest, highest)")
    for row in rows:
        low, high = row["ratios"][0], row["ratios"][-1]
        each = (f"{1e3 * row[name]:.2f}" for name in ("folders", "records"))
        table.row(row["what"], *each, f"{row['ratio']:.2f} ({low:.2f}, {high:.2f})")
