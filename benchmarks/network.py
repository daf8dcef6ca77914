"""Measures time, memory and FLOPs of P3M-Net: of the forward pass and the training step.

python benchmarks/network.py --networks resnet34 swin --sizes 256 1600x1088 [--train] [--json FILE]

FLOPs are those of the compiled program. They are compared with twice the multiply-adds that the
papers state for 512 x 512; a training step is compared with three forward passes. XLA counts the
contents of a loop once, for example attention in blocks or kernels' gradients by tiles. So the
FLOPs are those of a program without loops, which is compiled for this and not run. Memory is what
the compiled program needs in addition to its arguments. Times are medians over runs that alternate
between the networks.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from p3m_jax.configs import common
from p3m_jax.models.network import network
from p3m_jax.models.ops import attention, convolution, weight_gradient
from p3m_jax.training.state import initial_state, make_optimizer
from p3m_jax.training.step import make_train_step

# Multiply-adds of a forward pass at 512 x 512, in 10^9, as published.
PUBLISHED_GMACS = {"resnet34": 58.7, "swin": 89.0, "vitae_s": 71.1}


def compile_forward(name: str, size: tuple[int, int], batch: int):
    """The compiled forward pass, the seconds to compile it, and a function that runs it once."""
    net = network(name)
    variables = jax.tree.map(jax.numpy.asarray, net.initialize(0))
    pictures = np.random.default_rng(0).integers(0, 256, (batch, *size, 3)).astype(np.uint8)
    start = time.perf_counter()
    compiled = jax.jit(lambda v, x: net.apply(v, x)[0]).lower(variables, pictures).compile()
    seconds = time.perf_counter() - start
    return compiled, seconds, lambda: jax.block_until_ready(compiled(variables, pictures))


def compile_step(name: str, size: tuple[int, int], batch: int):
    """Like `compile_forward`, for a training step with all losses."""
    net, optimizer = network(name), make_optimizer(common.recipe(name).learning_rate)
    state = initial_state(net, optimizer, net.initialize(0))
    rng = np.random.default_rng(0)
    shape = (batch, *size)
    example = {
        name: rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        for name in ("picture", "foreground", "background")
    }
    example["matte"] = rng.integers(0, 256, (*shape, 1)).astype(np.uint8)
    example["trimap"] = rng.choice([0, 128, 255], (*shape, 1)).astype(np.uint8)
    start = time.perf_counter()
    compiled = jax.jit(make_train_step(net, optimizer)).lower(state, example).compile()
    seconds = time.perf_counter() - start
    return compiled, seconds, lambda: jax.block_until_ready(compiled(state, example))


def flops_without_loops(name: str, compile_it, size: tuple[int, int], batch: int) -> float:
    """The FLOPs of a program that computes the whole attention matrix and uses XLA's own gradients.

    Its grouped convolutions do the same operations as the loop that normally computes them, but
    side by side.
    """
    everything = size[0] ** 2 * size[1] ** 2
    side_by_side = functools.partial(convolution._side_by_side, bundle=convolution.BUNDLE_IN_LOOP)
    with (
        mock.patch.object(convolution, "_one_by_one", side_by_side),
        mock.patch.object(attention, "SCORES", everything),
        mock.patch.object(weight_gradient, "pays", return_value=False),
    ):
        return compile_it(name, size, batch)[0].cost_analysis()["flops"]


def height_and_width(text: str) -> tuple[int, int]:
    """Reads a size: "512" is a square, "1600x1088" is height and width."""
    sides = [int(side) for side in text.split("x")]
    return sides[0], sides[-1]


def measure(
    names, size: tuple[int, int], batch: int, *, train: bool, runs: int, pause: float
) -> list[dict]:
    """Returns one row per network; runs alternate, with `pause` seconds to wait before each."""
    compile_it = compile_step if train else compile_forward
    programs = {name: compile_it(name, size, batch) for name in names}
    times = {name: [] for name in names}
    for _ in range(runs + 1):
        for name, (_, _, run) in programs.items():
            time.sleep(pause)
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    rows = []
    for name, (compiled, compile_seconds, _) in programs.items():
        pixels = batch * size[0] * size[1]
        expected = 2e9 * PUBLISHED_GMACS[name] * pixels / 512**2 * (3 if train else 1)
        flops = (
            flops_without_loops(name, compile_it, size, batch)
            if " while(" in compiled.as_text()
            else compiled.cost_analysis()["flops"]
        )
        counted = sorted(times[name][1:])  # the first run is a warm-up
        rows.append(
            {
                "network": name,
                "what": "training step" if train else "forward",
                "size": f"{size[0]} x {size[1]}",
                "batch": batch,
                "seconds": statistics.median(counted),
                "fastest": counted[0],
                "slowest": counted[-1],
                "compile_seconds": compile_seconds,
                "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
                "flops": flops,
                "flops_over_published": flops / expected,
            }
        )
    return rows


def main() -> None:
    """Prints the table; also writes it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(PUBLISHED_GMACS))
    parser.add_argument(
        "--sizes", nargs="+", type=height_and_width, default=[(256, 256), (512, 512)]
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train", action="store_true", help="training steps instead of forward")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to wait before a run")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()

    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"jax {jax.__version__} on {jax.devices()[0].platform}; {machine}")
    print(
        "network   what                 size  batch  median s  (fastest..slowest)"
        "  compile s  temp GB"
    )
    rows = []
    for size in args.sizes:
        for row in measure(
            args.networks,
            size,
            args.batch,
            train=args.train,
            runs=args.runs,
            pause=args.pause,
        ):
            rows.append(row)
            print(
                f"{row['network']:<9} {row['what']:<13} {row['size']:>11}  {args.batch:>5}  "
                f"{row['seconds']:>8.2f}  ({row['fastest']:.2f}..{row['slowest']:.2f})"
                f"{row['compile_seconds']:>16.1f}  {row['temporary_bytes'] / 1e9:>7.2f}  "
                f"{row['flops'] / 1e9:.1f} GFLOP = {row['flops_over_published']:.3f} of published"
            )
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
