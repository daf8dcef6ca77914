"""Estimates the cost of a training step on TPUs by compiling it for them, without a TPU.

    pip install libtpu
    python benchmarks/accelerators.py --size 512 --batch 8 [--networks swin] [--json FILE]
    python benchmarks/accelerators.py --mesh v5e:16x16 --networks swin --size 512 --batch 1

The first command compiles the step for one chip, in each precision, with and without recomputed
stages. It prints the FLOPs and bytes of the compiled program, its peak memory (arguments and
temporary arrays), and the roofline: the most steps per second if a chip did nothing but these
FLOPs, or nothing but move these bytes, and which of the two is the limit. Real chips are slower.
Without libtpu, --quick compiles for this machine's CPU instead.
The figures for an H100 use the same program, as if it were compiled identically for it.

The second command compiles for a mesh of many chips, with `--batch` pictures on each. It prints the
memory and FLOPs of each chip, and the program's collective operations. Attention runs in a loop,
which XLA counts only once, so the FLOPs and bytes of ViTAE-S do not include further iterations.
"""

import importlib.util
import os
import re
import time
from collections import Counter
from pathlib import Path

import command_line as cli
import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from our_program import find_network

from p3m_jax.configs import common
from p3m_jax.training.sharding import Places
from p3m_jax.training.state import initial_state, make_optimizer
from p3m_jax.training.step import Computing, make_train_step

# Published peaks: TFLOP/s of bfloat16 products, GB/s of memory bandwidth, GB of memory. TPUs also
# round float32 products to bfloat16; an H100 uses TF32 for them.
CHIPS = {
    "TPU v5e": (197, 819, 16),
    "TPU v6e": (918, 1640, 32),
    "H100": (989, 3350, 80),
}
COLLECTIVES = r"\b(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("


def places_of(topology: str, chips: int | None = None) -> Places:
    """The devices of a topology ("v5e:2x2"), or the first few of them; they need not exist here."""
    if importlib.util.find_spec("libtpu") is None:
        cli.refuse("Compiling for a TPU needs its compiler; install it with: pip install libtpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    return places_on(devices[:chips])


def places_on(devices) -> Places:
    """A mesh of these devices."""
    automatic = (jax.sharding.AxisType.Auto,)
    mesh = Mesh(np.array(devices), ("data",), axis_types=automatic)
    return Places(
        mesh, NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    )


def compile_step(name: str, places: Places, size: int, batch: int, computing: Computing, *, cut):
    """Compiles a network's training step for batches of `batch` pictures of `size` x `size`."""
    net, optimizer = find_network(name), make_optimizer(common.recipe(name).learning_rate)
    state = jax.eval_shape(lambda v: initial_state(net, optimizer, v), net.shapes)
    where = places.of_state(state, cut=cut)
    state = jax.tree.map(
        lambda array, place: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
        state,
        where,
    )
    channels = {"picture": 3, "foreground": 3, "background": 3, "matte": 1, "trimap": 1}
    example = {
        role: jax.ShapeDtypeStruct((batch, size, size, n), np.uint8, sharding=places.over_batch)
        for role, n in channels.items()
    }
    step = make_train_step(net, optimizer, seed=0, computing=computing)
    step = jax.jit(step, donate_argnums=0, out_shardings=(where, places.everywhere))
    return step.lower(state, example).compile()


def measure(name: str, places: Places, args, computing: Computing) -> dict:
    """Makes one row of the table."""
    started = time.perf_counter()
    batch = args.batch * places.mesh.size
    row = {
        "network": name,
        "precision": computing.dtype or "float32",
        "remat": computing.remat,
        "batch_per_chip": args.batch,
    }
    try:
        compiled = compile_step(name, places, args.size, batch, computing, cut=args.shard_state)
    except jax.errors.JaxRuntimeError as error:
        needed = re.search(r"temporaries \(([\d.]+)G\) exceeds available HBM", str(error))
        if needed is None:
            raise
        return row | {"peak_bytes": float(needed[1]) * 2**30}
    if args.text:
        kind = f"{name}-{computing.dtype or 'float32'}{'-remat' if computing.remat else ''}.txt"
        args.text.mkdir(parents=True, exist_ok=True)
        (args.text / kind).write_text(compiled.as_text())
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return row | {
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "peak_bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
        "collectives": dict(Counter(re.findall(COLLECTIVES, compiled.as_text()))),
        "compile_seconds": time.perf_counter() - started,
    }


def roofline(row: dict) -> dict[str, tuple[float, str]]:
    """For each chip, the most steps per second, and what limits them."""
    bounds = {}
    for chip, (teraflops, bandwidth, memory) in CHIPS.items():
        if chip == "H100" and row["precision"] == "float32":
            teraflops /= 2
        times = {
            "products": row["flops"] / teraflops / 1e12,
            "memory": row["bytes"] / bandwidth / 1e9,
        }
        slower = max(times, key=times.get)
        fits = "" if row["peak_bytes"] < memory * 1e9 else ", does not fit"
        bounds[chip] = (1 / times[slower], slower + fits)
    return bounds


def main(argv: list[str] | None = None) -> None:
    """Prints a table in Markdown; also writes it as JSON if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(cli.NETWORKS))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8, help="pictures per chip")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--remat", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--chip", default="v5e", help="chip to compile for (v5e, v6e)")
    parser.add_argument("--mesh", metavar="TOPOLOGY", help="v5e:16x16, v6e:16x16, ...")
    parser.add_argument("--shard-state", action="store_true")
    parser.add_argument(
        "--text", type=Path, metavar="FOLDER", help="write the compiled programs to it"
    )
    quick = {
        "networks": [cli.SMALL],
        "size": 32,
        "batch": 2,
        "precisions": ["float32"],
        "remat": [0],
    }
    args = cli.parse(parser, argv, **quick)

    if args.quick and importlib.util.find_spec("libtpu") is None:
        places = places_on(jax.devices("cpu")[:1])
    else:
        places = places_of(args.mesh) if args.mesh else places_of(f"{args.chip}:2x2", chips=1)
    last = ["collectives"] if args.mesh else [f"{chip}, steps/s" for chip in CHIPS]
    print(f"jax {jax.__version__}; {places.mesh.size} chips, each {args.batch} x {args.size}^2")
    table = cli.Table("network", "precision", "recomputed", "TFLOP", "GB moved", "peak GB", *last)
    rows = []
    for name in args.networks:
        for precision in args.precisions:
            for remat in args.remat:
                dtype = None if precision == "float32" else precision
                row = measure(name, places, args, Computing(dtype, bool(remat)))
                rows.append(row)
                first = [name, precision, "stages" if remat else ""]
                if "flops" not in row:
                    peak = cli.gigabytes(row["peak_bytes"])
                    table.row(*first, "does not fit", "", peak, *[""] * len(last))
                    continue
                row["roofline"] = roofline(row)
                shown = [f"{steps:.1f} ({why})" for steps, why in row["roofline"].values()]
                if args.mesh:
                    shown = [", ".join(f"{n} {what}" for what, n in row["collectives"].items())]
                table.row(
                    *first,
                    f"{row['flops'] / 1e12:.2f}",
                    f"{row['bytes'] / 1e9:.1f}",
                    cli.gigabytes(row["peak_bytes"]),
                    *shown,
                )
    cli.write_report(args, rows)


if __name__ == "__main__":
    main()
