"""Makes weights for the benchmarks: the same numbers for our program and for the authors'.

If there is a checkout of the authors' program, it writes a file of weights, which we import.
Otherwise we use new random weights.
"""

import subprocess
import sys
from pathlib import Path

import reference_program
from sides import HERE, command, part_of_program

NETWORKS = tuple(reference_program.ARCHITECTURES)


def make_weights(network: str, folder, *, checkout: Path | None, python: str | None) -> dict:
    """Writes a network's weights into `folder`; returns the paths for the task of each side."""
    task = {
        "network": network,
        "checkpoint": f"{folder}/{network}",
        "weights": f"{folder}/{network}.pth" if checkout else None,
        "checkout": str(checkout.absolute()) if checkout else None,
        "goldens": str(HERE.parent / "tests" / "goldens"),
    }
    if checkout:
        theirs = command(reference_program.__file__, "prepare", task, python)
        subprocess.run(theirs, check=True)
    subprocess.run(command(__file__, "prepare", task), check=True)
    return task


def prepare(task: dict) -> None:
    """Writes our checkpoint, imported from the authors' file of weights if it exists."""
    from p3m_jax.checkpoints.weights import describe, save_for_inference
    from p3m_jax.interchange.importing import import_weights
    from p3m_jax.models.network import network

    if task["weights"]:
        import_weights(task["weights"], task["checkpoint"])
    else:
        description = describe(task["network"], synthetic=True, provenance={})
        variables = network(task["network"]).initialize(0)
        save_for_inference(task["checkpoint"], variables, description)


def add_reference(parser) -> None:
    """Declares the options that name the authors' program."""
    parser.add_argument(
        "--reference", type=Path, metavar="CHECKOUT", help="a checkout of ViTAE-Transformer/P3M-Net"
    )
    parser.add_argument("--reference-python", metavar="PYTHON", help="an interpreter with PyTorch")


def check_reference(parser, args) -> None:
    """Ends the program with an error message if these options do not fit."""
    if (args.reference is None) != (args.reference_python is None):
        parser.error("--reference and --reference-python must be given together.")
    if args.reference and not (args.reference / "core" / "infer.py").is_file():
        parser.error(f"{args.reference}: holds no core/infer.py.")


if __name__ == "__main__" and not part_of_program(prepare=prepare):
    sys.exit("This program is only called by the others.")
