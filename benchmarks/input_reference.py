"""Compares the input pipeline with the authors' loader, for `input_pipeline.py --reference`.

Both make batches of 8 of the same files with one thread. A sample has picture, matte, foreground,
background and trimap, in random crops of 512 to 1024 pixels that become 512 x 512. The authors'
loader is `MattingDataset` with `MattingTransform` in PyTorch's DataLoader without workers. It
returns normalised floats; ours returns bytes, which the training step normalises. Their loader has
no obfuscation and no pasting, so our ways with these are compared with its plain way. Each side is
a process; they take turns of a fixed number of samples. Only the time between batches is measured,
not the start of a pipeline.
"""

import functools
import sys
from pathlib import Path

import command_line as cli
import numpy as np
import reference_loader
from pipelines import BATCH, tf, ways_with_faces, with_faces
from sides import Process, part_of_program, served, take_turns

from p3m_jax.data.layouts import training_set
from p3m_jax.input.pipeline import training_batches

WAYS = ("plain", "blurred", "pasted")


def load(task: dict, clock):
    """Returns a function that takes samples from our pipeline, for `sides.serve`."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    dataset, faces = prepared(task)
    options = ways_with_faces(dataset, faces)[task["way"]]

    def take():
        batches = training_batches(
            dataset, batch_size=BATCH, seed=0, composition=True, workers=1, **options
        )
        next(batches)
        with clock:
            for _ in range(task["batches"]):
                batch = next(batches)
        return np.array([BATCH * task["batches"], np.mean(batch["matte"]) / 255])

    return take


def prepared(task: dict):
    """The data set of a task with its face areas, and the faces to paste."""
    dataset = training_set(task["data"], foreground_cache=task["foreground_cache"])
    return with_faces(dataset, task["faces"], task["masks"], Path(task["folder"]))


def beside_reference(args, folder: Path) -> list[dict]:
    """Measures all sides; returns a row per side. `args` are the options of `input_pipeline.py`."""
    paths = {
        name: str(path) if (path := getattr(args, name)) else None
        for name in ("data", "foreground_cache", "faces", "masks")
    }
    task = paths | {
        "folder": str(folder),
        "batches": max(args.samples // BATCH, 1),
        "result": str(folder / "matte"),
        "set": str(folder / "theirs"),
        "checkout": str(args.reference.absolute()),
    }
    dataset, _ = prepared(task)
    link(dataset.examples, folder / "theirs" / "train")
    start = functools.partial(Process, program=__file__)
    sides = [start(f"ours, {way}", task={**task, "way": way}) for way in WAYS]
    if args.records:
        of_records = {**task, "data": str(args.records), "way": "plain"}
        sides.append(start("ours, records", task=of_records))
    sides.append(Process("theirs", reference_loader.__file__, task, args.reference_python))
    _, results = take_turns(sides, runs=args.rounds, pause=0.0)
    rows = [side.row() for side in sides]
    for row in rows:
        samples = results[row["side"]][0]
        for key in ("", "_fastest", "_slowest"):
            row[f"core_seconds_per_sample{key}"] = row[f"part_cpu{key}"] / samples
        row["theirs_over_it"] = rows[-1]["part_cpu"] / row["part_cpu"]
        row["pictures"] = len(dataset.examples)
    return rows


def link(examples, folder: Path) -> None:
    """Links the files in the layout that the authors' program expects."""
    places = {
        "picture": ("blurred_image", ".jpg"),
        "matte": ("mask", ".png"),
        "foreground": ("fg", ".png"),
        "background": ("bg", ".jpg"),
    }
    for role, (name, ending) in places.items():
        (folder / name).mkdir(parents=True)
        for example in examples:
            file = getattr(example, role)
            if file is None:
                sys.exit(f"{example.picture}: has no {role}; `p3m estimate` makes one.")
            # Both programs recognise a file by its content, not by its ending.
            (folder / name / f"{example.stem}{ending}").symlink_to(Path(file).absolute())


def show(rows: list[dict]) -> None:
    """Prints the rows."""
    table = cli.Table("side", "ms of one core per sample", "pictures/s", "theirs / this", "GB")
    for row in rows:
        median, *between = (
            1e3 * row[f"core_seconds_per_sample{key}"] for key in ("", "_fastest", "_slowest")
        )
        table.row(
            row["side"],
            "{:.1f} ({:.1f}..{:.1f})".format(median, *between),
            f"{1e3 / median:.1f}",
            f"{row['theirs_over_it']:.2f}",
            cli.gigabytes(row["peak"]),
        )


if __name__ == "__main__":
    part_of_program(serve=served(load))
