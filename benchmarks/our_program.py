"""Makes weights for the benchmarks: the same numbers for our program and for the authors'.

If there is a checkout of the authors' program, it writes a file of weights, which we import.
Otherwise we use new random weights.
"""

import subprocess
import sys
from pathlib import Path

import command_line as cli
import reference_program
from sides import command, part_of_program


def make_weights(network: str, folder, *, checkout: Path | None, python: str | None) -> dict:
    """Writes a network's weights into `folder`; returns the paths for the task of each side."""
    task = {
        "network": network,
        "checkpoint": f"{folder}/{network}",
        # The small network stays in this process, whose cache is left as it is.
        "cache": None if network == cli.SMALL else f"{folder}/compiled",
        "weights": f"{folder}/{network}.pth" if checkout else None,
        "checkout": str(checkout.absolute()) if checkout else None,
        "goldens": str(cli.CLONE / "tests" / "goldens"),
    }
    if checkout:
        theirs = command(reference_program.__file__, "prepare", task, python)
        subprocess.run(theirs, check=True)
    if network == cli.SMALL:
        prepare(task)
    else:  # its memory does not count as ours
        subprocess.run(command(__file__, "prepare", task), check=True)
    return task


def prepare(task: dict) -> None:
    """Writes our checkpoint, imported from the authors' file of weights if it exists."""
    from p3m_jax.checkpoints.weights import describe, save_for_inference
    from p3m_jax.interchange.importing import import_weights

    if task["weights"]:
        import_weights(task["weights"], task["checkpoint"])
    else:
        description = describe(task["network"], synthetic=True, provenance={})
        variables = find_network(task["network"]).initialize(0)
        save_for_inference(task["checkpoint"], variables, description)


def find_network(name: str):
    """The network of that name, also the small one of `tests/helpers`."""
    from p3m_jax.models.network import network

    if name == cli.SMALL:
        know_small_network()
    return network(name)


def know_small_network() -> None:
    """Makes the package know the network of `tests/helpers/small_network.py`."""
    helpers = str(cli.CLONE / "tests" / "helpers")
    if helpers not in sys.path:
        sys.path.append(helpers)
    from small_network import found_by_name

    found_by_name()


def predict(task: dict) -> None:
    """`p3m predict` for the small network, which the command does not know."""
    from p3m_jax.cli import main

    know_small_network()
    sys.exit(main(["predict", *task["arguments"]]))


def predict_command(network: str, arguments: list[str]) -> list[str]:
    """The command line of `p3m predict` with a network of that name."""
    if network == cli.SMALL:
        return command(__file__, "predict", {"arguments": arguments})
    return [sys.executable, "-m", "p3m_jax.cli", "predict", *arguments]


if __name__ == "__main__" and not part_of_program(prepare=prepare, predict=predict):
    sys.exit("This program is only called by the others.")
