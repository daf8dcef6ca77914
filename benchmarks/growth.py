"""Measures how time and memory of matting grow with the picture's size, and the largest that fits.

    python benchmarks/growth.py --plot docs/growth.png --json OUT.json
    python benchmarks/growth.py --networks swin --strategies resize --long-sides 256 512

It mattes pictures of shape 3:2 with increasing long sides, with each network and strategy at exact
sizes. Every size has its own process, which mattes twice: the first time compiles, and the second
is measured. Memory is the peak of the process, including weights, program and compiling. It grows
with the number of pixels, so a line through the two largest sizes tells which size fits into a
given memory.
"""

import tempfile
from pathlib import Path

import command_line as cli
import numpy as np
import prediction
from our_program import make_weights
from sides import Here, Process

STRATEGIES = ("resize", "hybrid")
MEMORIES = (8, 16)  # GB


def shape_of(long_side: int) -> tuple[int, int]:
    """The height and width of an upright picture of shape 3:2."""
    return long_side, round(long_side * 2 / 3)


def measure(task: dict, folder: str, long_side: int, strategy: str) -> dict:
    """Makes one row: seconds and peak memory of a picture, measured in its own process."""
    height, width = shape_of(long_side)
    task = {
        **task,
        "strategy": strategy,
        "picture": f"{folder}/picture.npy",
        "result": f"{folder}/alpha",
    }
    np.save(task["picture"], prediction.find_picture(None, height, width))
    if task["network"] == cli.SMALL:
        side = Here("ours", prediction.load, task)
    else:
        side = Process("ours", prediction.__file__, task)
    side.run()
    side.run()
    side.close()
    first, second = side.runs
    return {
        "network": task["network"],
        "strategy": strategy,
        "long_side": long_side,
        "pixels": height * width,
        "first_seconds": first["seconds"],
        "seconds": second["seconds"],
        "cpu": second["cpu"],
        "peak": second["peak"],
    }


def largest(rows: list[dict], memory: float) -> float:
    """The pixels that fit into `memory` bytes, by a line through the two largest pictures."""
    small, large = sorted(rows, key=lambda row: row["pixels"])[-2:]
    slope = (large["peak"] - small["peak"]) / (large["pixels"] - small["pixels"])
    return large["pixels"] + (memory - large["peak"]) / slope


def plot(groups: dict[tuple[str, str], list[dict]], path: Path) -> None:
    """Plots seconds and gigabytes against the long side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = dict.fromkeys(network for network, _ in groups)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
    for (network, strategy), rows in groups.items():
        style = {"label": f"{network}, {strategy}", "color": f"C{list(colours).index(network)}"}
        style |= {"marker": "o", "linestyle": "--" if strategy == "resize" else "-"}
        sides = [row["long_side"] for row in rows]
        axes[0].plot(sides, [row["seconds"] for row in rows], **style)
        axes[1].plot(sides, [row["peak"] / 1e9 for row in rows], **style)
    sides = sorted({row["long_side"] for rows in groups.values() for row in rows})
    for axis, what in zip(axes, ("seconds a picture", "GB at the peak"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="long side of a 3:2 picture", ylabel=what)
        axis.set_xticks(sides, [str(side) for side in sides], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.4)
    axes[0].legend(fontsize="small")
    for memory in MEMORIES:
        axes[1].axhline(memory, color="grey", linewidth=0.8)
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    """Prints the tables; also plots and writes them if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", choices=cli.NETWORKS, default=cli.NETWORKS)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument(
        "--long-sides",
        nargs="+",
        type=int,
        default=[256, 512, 1024, 2048, 4096, 8192],
        metavar="PIXELS",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG with two panels")
    args = cli.parse(parser, argv, networks=[cli.SMALL], long_sides=[96, 192])

    print(cli.machine())
    table = cli.Table(
        "network", "strategy", "long side", "megapixels", "s", "CPU s", "first s", "GB"
    )
    groups: dict[tuple[str, str], list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            task = make_weights(network, folder, checkout=None, python=None)
            for strategy in args.strategies:
                for long_side in args.long_sides:
                    row = measure(task, folder, long_side, strategy)
                    groups.setdefault((network, strategy), []).append(row)
                    table.row(
                        network,
                        strategy,
                        long_side,
                        f"{row['pixels'] / 1e6:.2f}",
                        f"{row['seconds']:.2f}",
                        f"{row['cpu']:.2f}",
                        f"{row['first_seconds']:.1f}",
                        cli.gigabytes(row["peak"]),
                    )
                cli.write_report(args, [row for rows in groups.values() for row in rows])
    if len(args.long_sides) > 1 and not args.quick:
        for (network, strategy), rows in groups.items():
            fits = ", ".join(
                f"{largest(rows, memory * 1e9) / 1e6:.0f} megapixels in {memory} GB"
                for memory in MEMORIES
            )
            print(f"{network}, {strategy}: {fits}")
    if args.plot:
        plot(groups, args.plot)


if __name__ == "__main__":
    main()
