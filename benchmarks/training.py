"""Measures time and memory of a training step, compared with the authors' program on PyTorch.

    python benchmarks/training.py
    python benchmarks/training.py --reference CHECKOUT --reference-training CHECKOUT_OF_2021 \\
        --reference-python PYTHON --pause 5 --json OUT.json

A step is the forward pass, all losses, the backward pass and Adam's update. The sides are:

- `ours`: the step that `train.py` runs on 8-bit maps, with its state donated;
- `theirs`: one step of the authors' program. It runs the networks of CHECKOUT
  (ViTAE-Transformer/P3M-Net) in the training loop of CHECKOUT_OF_2021 (JizhiziLi/P3M, the only one
  that they published), on the floats that its loader returns;
- `best`: the same with PyTorch's fastest settings (channels_last, and Adam fused).

Batches are made before the clock starts; stochastic depth is off on both sides.

Each side is a new process for each network and size; all sides of a size are loaded and take turns.
A turn is a few consecutive steps, as in training. The first step of a turn is not
counted, because the process finds caches and memory as another process left them. All sides start
from the same weights and batch. The losses of the first step are compared term by term, which shows
that both sides compute the same. Our step is compiled by a process of its own. Its time and peak
memory are shown separately, with the ratio of the step's FLOPs to those of three forward passes as
published. The measured processes find the compiled program on disk.

The authors' Swin-T accepts no squares whose last stage is at most 7 pixels wide (224 and below),
nor other multiples of 224. Squares of 64 say nothing about our speed: on a CPU, XLA convolves their
last maps, of 2 x 2 pixels, about twenty times as slowly as larger ones.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile

import command_line as cli
import numpy as np
import reference_training
from our_program import make_weights
from sides import (
    Clock,
    Here,
    Process,
    add_turns,
    command,
    part_of_program,
    peak_memory,
    ratios,
    served,
    spread,
    take_turns,
)

SIDES = ("ours", "theirs", "best")
LEARNING_RATE = 1e-5
# In the order in which the authors' program computes them.
TERMS = (
    *(f"{output}_entropy" for output in ("semantic", "side2", "side1", "side0")),
    *(f"{alpha}_{loss}" for alpha in ("detail", "fusion") for loss in ("alpha", "laplacian")),
    "composition",
)


def ready(task: dict):
    """Our step, not compiled yet, and the state and batch that it starts with."""
    import jax
    import optax

    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.runtime.compilation import keep_compiled
    from p3m_jax.training.state import initial_state
    from p3m_jax.training.step import make_train_step

    keep_compiled(task["cache"])
    checkpoint = load_for_inference(task["checkpoint"])
    optimizer = optax.adam(LEARNING_RATE)
    first_state = functools.partial(initial_state, checkpoint.network, optimizer)
    state = jax.jit(first_state)(checkpoint.variables)
    with np.load(task["batch"]) as file:
        batch = jax.tree.map(jax.numpy.asarray, dict(file))
    return jax.jit(make_train_step(checkpoint.network, optimizer), donate_argnums=0), state, batch


def load(task: dict, clock):
    """Returns a function that trains one step and returns the loss terms, for `sides.serve`."""
    import jax

    from p3m_jax.runtime.compilation import return_memory

    step, state, batch = ready(task)
    step = step.lower(state, batch).compile()
    jax.clear_caches()
    return_memory()  # as the training loop does

    def train():
        nonlocal state
        state, terms = jax.block_until_ready(step(state, batch))
        return np.array([terms[name] for name in TERMS])

    return train


def compiling(task: dict) -> dict:
    """Compiles our step into the cache; returns the time and memory of compiling, and its FLOPs."""
    from network import compile_step, flops_without_loops, published_flops

    step, state, batch = ready(task)
    with Clock() as clock:
        compiled = step.lower(state, batch).compile()
    told = {"seconds": clock.wall, "cpu": clock.cpu, "peak": peak_memory()}
    told["temporary_bytes"] = compiled.memory_analysis().temp_size_in_bytes
    name, size, pictures = task["network"], task["size"], task["pictures"]
    if " while(" in compiled.as_text():
        told["flops"] = flops_without_loops(name, compile_step, (size, size), pictures)
    else:
        told["flops"] = compiled.cost_analysis()["flops"]
    published = 3 * published_flops(name, pictures * size**2)
    return told | {"flops_over_published": told["flops"] / published}


def compile_apart(task: dict) -> None:
    """Prints what `compiling` returns, for the process that asks."""
    print(json.dumps(compiling(task)))


def make_batch(file: str, size: int, pictures: int) -> None:
    """Writes a batch of 8-bit maps: smooth noise, with a matte that has a transition area."""
    from PIL import Image

    noise = np.random.default_rng(0)

    def smooth(channels):
        small = noise.integers(0, 256, (pictures, 9, 9, channels), dtype=np.uint8)
        resized = [
            np.asarray(Image.fromarray(x.squeeze()).resize((size, size), Image.Resampling.BICUBIC))
            for x in small
        ]
        return np.stack(resized).reshape(pictures, size, size, channels)

    colours = {name: smooth(3) for name in ("picture", "foreground", "background")}
    matte = np.clip((smooth(1).astype(int) - 128) * 4 + 128, 0, 255).astype(np.uint8)
    trimap = np.where((matte > 0) & (matte < 255), 128, matte).astype(np.uint8)
    np.savez(file, **colours, matte=matte, trimap=trimap)


def measure(names, task: dict, *, python, runs: int, pause: float, in_a_row: int) -> list[dict]:
    """Measures one network and size; returns a row per side."""
    here, first = task["network"] == cli.SMALL, None
    if here:
        first = compiling(task)
    elif "ours" in names:
        told = subprocess.run(
            command(__file__, "compile", task), check=True, stdout=subprocess.PIPE, text=True
        )
        first = json.loads(told.stdout)

    def start(name):
        if here:
            return Here(name, load, task)
        if name == "ours":
            return Process(name, __file__, task)
        return Process(name, reference_training.__file__, task, python)

    sides = [start(name) for name in names]
    losses, _ = take_turns(sides, runs=runs, pause=pause, in_a_row=in_a_row)
    rows = []
    for side in sides:
        found = losses[side.name]
        if found.shape != (len(TERMS),) or not np.isfinite(found).all():
            sys.exit(f"{side.name}: does not work; its first losses are {found}.")
        row = {key: task[key] for key in ("network", "size", "pictures")} | side.row()
        row["losses"] = dict(zip(TERMS, found.tolist(), strict=True))
        if "theirs" in losses:
            row["losses_off_by"] = float(np.max(np.abs(found / losses["theirs"] - 1)))
        if side.name == "ours":
            row["compiling"] = first
        rows.append(row)
    return rows


TITLES = (
    *("network", "size", "side", "s", "CPU s", "ours / this", "CPU", "base GB", "peak GB"),
    *("losses off by", "compiling s", "GB", "FLOPs / three published forward passes"),
)


def show(table: cli.Table, rows: list[dict]) -> None:
    """Prints the rows of one network and size."""
    for row in rows:
        first = row.get("compiling")
        table.row(
            row["network"],
            row["size"],
            row["side"],
            spread(row),
            spread(row, "cpu"),
            *ratios(row, rows),
            cli.gigabytes(row["base"]),
            cli.gigabytes(row["peak"]),
            f"{row['losses_off_by']:.1e}" if "losses_off_by" in row else "",
            *(f"{first['seconds']:.1f}", cli.gigabytes(first["peak"])) if first else ("", ""),
            f"{first['flops_over_published']:.3f}" if first else "",
        )


def options(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(cli.NETWORKS), metavar="NAME")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[256, 512], help="sides of squares in pixels"
    )
    parser.add_argument("--batch", type=int, default=2, help="pictures in a batch")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, metavar="SIDE")
    cli.add_reference(parser, training=True)
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn (3)")
    add_turns(parser, runs=3)
    quick = {"networks": [cli.SMALL], "sizes": [32], "sides": ["ours"], "steps": 2, "runs": 1}
    args = cli.parse(parser, argv, **quick)
    if min(args.steps, args.runs) < 1:
        parser.error("--steps and --runs must be at least 1.")
    cli.check_reference(parser, args)
    if (args.reference is None) != (args.reference_training is None):
        parser.error("--reference and --reference-training must be given together.")
    if args.reference is None:
        args.sides = ["ours"]
    elif not (args.reference_training / "core" / "train.py").is_file():
        parser.error(f"{args.reference_training}: holds no core/train.py.")
    return args


def main(argv: list[str] | None = None) -> None:
    """Prints the table; also writes it as JSON if asked."""
    args = options(argv)
    print(
        f"{cli.machine()}; batch {args.batch}, medians of {args.runs} turns of {args.steps} steps "
        "(fastest..slowest)"
    )
    table = cli.Table(*TITLES)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for network in args.networks:
            task = make_weights(
                network, scratch, checkout=args.reference, python=args.reference_python
            )
            task |= {
                "threads": args.threads,
                "learning_rate": LEARNING_RATE,
                "pictures": args.batch,
                "batch": f"{scratch}/batch.npz",
                "result": f"{scratch}/losses",
                "training_checkout": str(args.reference_training),
            }
            for size in args.sizes:
                make_batch(task["batch"], size, args.batch)
                rows += measure(
                    args.sides,
                    {**task, "size": size},
                    python=args.reference_python,
                    runs=args.runs,
                    pause=args.pause,
                    in_a_row=args.steps,
                )
                show(table, rows[-len(args.sides) :])
                cli.write_report(args, rows)


if __name__ == "__main__" and not part_of_program(serve=served(load), compile=compile_apart):
    main()
