"""Measures the cost of the checksums of checkpoints: python benchmarks/checksums.py"""

import time

import jax
import optax

from p3m_jax.checkpoints.arrays import damaged_arrays, named_on_host, with_checksums
from p3m_jax.models.network import ENCODERS, network
from p3m_jax.training.state import initial_state


def main() -> None:
    """Prints a line for the weights and the training state of each network."""
    for name in ENCODERS:
        net = network(name)
        weights = net.initialize(0)
        state = initial_state(net, optax.adam(1e-5), weights)
        for what, tree in (("weights", weights), ("training state", state)):
            size = sum(array.nbytes for array in jax.tree.leaves(tree)) / 1e6
            content, written = _timed(lambda tree=tree: with_checksums({}, tree))
            arrays, checksums = dict(named_on_host(tree)), content["checksums"]["arrays"]
            problems, checked = _timed(lambda a=arrays, c=checksums: damaged_arrays(a, c))
            assert not problems
            print(
                f"{name}, {what}, {size:.0f} MB: {written:.2f} s written, {checked:.2f} s checked"
            )


def _timed(function, times: int = 3):
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        result = function()
        taken.append(time.perf_counter() - started)
    return result, min(taken)


if __name__ == "__main__":
    main()
