"""Measures the cost of the checksums of checkpoints, for weights and for whole training states.

python benchmarks/checksums.py
"""

import command_line as cli
import jax
import optax
from our_program import find_network
from sides import Clock

from p3m_jax.checkpoints.arrays import damaged_arrays, named_on_host, with_checksums
from p3m_jax.training.state import initial_state


def measure(tree, runs: int) -> dict[str, float]:
    """The bytes of a tree of arrays, and the best seconds to write and to check its checksums."""
    size = sum(array.nbytes for array in jax.tree.leaves(tree))
    content, writing = _best(lambda: with_checksums({}, tree), runs)
    arrays, checksums = dict(named_on_host(tree)), content["checksums"]["arrays"]
    problems, checking = _best(lambda: damaged_arrays(arrays, checksums), runs)
    if problems:
        raise SystemExit(f"Checksums do not fit their own arrays: {problems}")
    return {"bytes": size, "writing_seconds": writing, "checking_seconds": checking}


def _best(function, runs: int):
    seconds = []
    for _ in range(runs):
        with Clock() as clock:
            result = function()
        seconds.append(clock.wall)
    return result, min(seconds)


def main(argv: list[str] | None = None) -> None:
    """Prints a row for the weights and the training state of each network."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", choices=cli.NETWORKS, default=cli.NETWORKS)
    parser.add_argument("--runs", type=int, default=3)
    args = cli.parse(parser, argv, networks=[cli.SMALL], runs=1)
    print(f"{cli.machine()}; best of {args.runs}")
    table, rows = cli.Table("network", "arrays", "MB", "writing s", "checking s"), []
    for name in args.networks:
        net = find_network(name)
        weights = net.initialize(0)
        state = initial_state(net, optax.adam(1e-5), weights)
        for what, tree in (("weights", weights), ("training state", state)):
            row = {"network": name, "arrays": what} | measure(tree, args.runs)
            rows.append(row)
            seconds = (f"{row[key]:.2f}" for key in ("writing_seconds", "checking_seconds"))
            table.row(name, what, cli.megabytes(row["bytes"]), *seconds)
    cli.write_report(args, rows)


if __name__ == "__main__":
    main()
