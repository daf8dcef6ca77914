"""Measures where P3M-Net spends its time: per stage of the network, and per kind of operation.

    python benchmarks/stages.py --networks resnet34 --sizes 512 [--train --batch 2] [--json FILE]

The compiled program runs under JAX's profiler. The time of each operation is assigned to the part
of the network that the program names as its origin (`forward` and `backward` separately), and to a
kind: products (convolutions and matrix products, with operations that XLA fused to them), copies
(transposes, concatenations, pads, slices), or the rest. The time of an operation is from its start
to its end. It may use several threads, and operations may overlap, so the sum can exceed the wall
time.

The limits are measured in the same run: the rate of one large matrix product (GFLOP/s), and the
rate of copying a large array (GB/s).
"""

import re
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import command_line as cli
import jax
import jax.numpy as jnp
from network import compile_forward, compile_step, height_and_width

# The network's names of its parts. From an operation's name, the outermost and the innermost part
# are used.
OUTER = ("encoder", "semantic", "matting", "losses", "optimizer")
INNER = (
    *("stage1", "stage2", "stage3", "stage4", "block", "TFI", "sBFI", "dBFI", "head"),
    *("max_pool", "max_unpool", "upsample"),
)
# An instruction's name lists the operations fused in it; these only move numbers.
MOVES = "copy|transpose|concatenate|pad|slice|dynamic-slice|dynamic-update-slice|bitcast|reverse"
COPIES = rf"(?:(?:{MOVES}|broadcast|wrapped|fusion)[._\d]*)+"


def limits(side: int = 2048, long: int = 64 * 2**20) -> tuple[float, float]:
    """(GFLOP/s of multiplying squares, GB/s of copying an array), the best of several runs."""

    def best(function, *arguments):
        function = jax.jit(function)
        jax.block_until_ready(function(*arguments))
        times = []
        for _ in range(7):
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times.append(time.perf_counter() - start)
        return min(times)

    product = best(jnp.matmul, *[jnp.ones((side, side))] * 2)
    copied = best(lambda x: x + 1, jnp.ones(long))
    return 2 * side**3 / product / 1e9, 2 * 4 * long / copied / 1e9


def where_from(operation: str) -> str:
    """The part of the network in the name of one of the program's operations."""
    scopes = set(re.split(r"[/()]", operation))
    outer = next((name for name in OUTER if name in scopes), "rest")
    inner = [name for name in INNER if name in scopes]
    direction = "backward" if "transpose(" in operation else "forward"
    return " ".join([direction, outer, *inner[-1:]])


def kinds_and_places(program: str) -> dict[str, tuple[str, str]]:
    """The kind and the place in the network of each instruction of the compiled program."""
    bodies: dict[str, list[str]] = defaultdict(list)
    current = ""
    for line in program.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.-]+) .*\{$", line)
        current = header[1] if header else current
        bodies[current].append(line)
    found = {}
    for line in program.splitlines():
        named = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = ", line)
        if named is None:
            continue
        text = line
        for body in re.findall(r"calls=%?([\w.-]+)", line):
            text += "\n".join(bodies[body])
        operation = re.search(r'op_name="([^"]*)"', text)
        kind = "copies" if re.fullmatch(COPIES, named[1]) else "rest"
        if re.search(r" (convolution|dot|custom-call)\(", text):
            kind = "products"
        found[named[1]] = kind, where_from(operation[1] if operation else "")
    return found


def profile(compiled, run, runs: int) -> dict:
    """The seconds of one run by (place, kind), and its wall time."""
    places = kinds_and_places(compiled.as_text())
    run()
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(runs):
                start = time.perf_counter()
                run()
                walls.append(time.perf_counter() - start)
        (file,) = Path(folder).rglob("*.xplane.pb")
        trace = jax.profiler.ProfileData.from_file(str(file))
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    operations: dict[str, float] = defaultdict(float)
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in places:
                    kind, place = places[event.name]
                    seconds[place, kind] += event.duration_ns / 1e9 / runs
                    operations[event.name] += event.duration_ns / 1e9 / runs
    return {"wall": statistics.median(walls), "seconds": seconds, "operations": operations}


def show(found: dict, flops: float, gemm: float) -> None:
    """Prints the profile as a table."""
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (place, kind), seconds in found["seconds"].items():
        totals[place][kind] += seconds
    busy = sum(found["seconds"].values())
    table = cli.Table("part", "share", "ms", "products", "copies", "rest")
    for place, kinds in sorted(totals.items(), key=lambda item: -sum(item[1].values())):
        whole = sum(kinds.values())
        split = (f"{1e3 * kinds[kind]:.0f}" for kind in ("products", "copies", "rest"))
        table.row(place, f"{whole / busy:.1%}", f"{1e3 * whole:.0f}", *split)
    by_kind = {kind: sum(k[kind] for k in totals.values()) for kind in ("products", "copies")}
    print(
        f"\n{found['wall']:.2f} s, {busy / found['wall']:.2f} operations at a time; products "
        f"{by_kind['products'] / busy:.0%}, copies {by_kind['copies'] / busy:.0%}; "
        f"{flops / found['wall'] / 1e9:.0f} GFLOP/s in all, where one matrix product does "
        f"{gemm:.0f}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> None:
    """Prints a table for each network and size; also writes them as JSON if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(cli.NETWORKS))
    parser.add_argument("--sizes", nargs="+", type=height_and_width, default=[(512, 512)])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train", action="store_true", help="training steps instead of forward")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--operations", type=int, default=0, metavar="N", help="list the N longest")
    args = cli.parse(parser, argv, networks=[cli.SMALL], sizes=[(32, 32)], runs=1)

    gemm, bandwidth = limits(256, 2**20) if args.quick else limits()
    print(
        f"{cli.machine()}; jax {jax.__version__}; limits: {gemm:.0f} GFLOP/s, {bandwidth:.1f} GB/s"
    )
    rows = []
    for name in args.networks:
        for size in args.sizes:
            compile_it = compile_step if args.train else compile_forward
            compiled, run = compile_it(name, size, args.batch)
            found = profile(compiled, run, args.runs)
            flops = compiled.cost_analysis()["flops"]
            what = "training step" if args.train else "forward"
            print(f"\n{name}, {what}, {args.batch} x {size[0]} x {size[1]}\n")
            show(found, flops, gemm)
            longest = sorted(found["operations"].items(), key=lambda item: -item[1])
            for operation, seconds in longest[: args.operations]:
                print(f"  {1e3 * seconds:7.1f} ms  {operation}")
            rows.append(
                {
                    "network": name,
                    "what": what,
                    "size": size,
                    "batch": args.batch,
                    "wall": found["wall"],
                    "flops": flops,
                    "seconds": {" / ".join(key): s for key, s in found["seconds"].items()},
                }
            )
    cli.write_report(args, rows, gemm_gflops=gemm, copy_gbs=bandwidth)


if __name__ == "__main__":
    main()
