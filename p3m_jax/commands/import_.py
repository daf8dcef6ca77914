"""`p3m import`: the authors' weights, or a safetensors file, as a checkpoint of ours."""

import argparse

from p3m_jax.commands.options import add_output
from p3m_jax.text import say, shown

HELP = "make a checkpoint of a .pth or .safetensors file with the authors' names"

EPILOG = """\
A whole network can then predict, be evaluated and be fine-tuned; an ImageNet backbone alone
starts a training with --config.init_from=DIR. What the authors have published: docs/importing.md.
Nothing in a .pth file is run: a file that holds anything but arrays and plain settings is refused.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE", help=".pth, .pt, .pth.tar or .safetensors")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the network that it holds: resnet34, swin or vitae_s (default: told by its names)",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="take the weights of an ordinary ResNet-34 (torchvision's), which has strides where "
        "the network here pools, as a start for training; the checkpoint says so",
    )
    add_output(parser, "a new folder for the checkpoint")


def run(args: argparse.Namespace) -> int:
    """Imports and reports; returns the exit code."""
    from pathlib import Path

    from p3m_jax.checkpoints.arrays import CheckpointError
    from p3m_jax.interchange.importing import import_weights

    if Path(args.output).exists():  # before the file is read
        raise CheckpointError(f"{args.output} exists already; name another folder.")
    imported = import_weights(args.file, args.output, args.model, approximate=args.approximate)
    contents, file = imported.contents, imported.file
    parameters, statistics = (
        sum(array.size for array in part.values()) for part in imported.variables
    )
    what = "P3M-Net" if contents.part == "network" else "the encoder alone"
    say(shown(f"Imported {contents.network} ({what}) from {args.file} to {args.output}."))
    rows = [
        ("matched", f"{imported.matched:,} arrays"),
        ("holds", f"{parameters:,} parameters, {statistics:,} running statistics"),
        ("dropped", "; ".join(f"{n:,} {kind}" for kind, n in imported.dropped.items())),
        ("drawn", f"{', '.join(imported.drawn)} from seed 0" if imported.drawn else ""),
        ("converted", ", ".join(f"{kind} to float32" for kind in imported.converted)),
        ("approximate", imported.approximate),
        ("file", f"{file.size:,} bytes, {file.form}"),
        ("SHA-256", file.sha256),
    ]
    for title, text in rows:
        if text or title != "approximate":
            say(f"  {title:<12}{shown(text or 'nothing')}")
    if contents.part == "encoder":
        say(f"Start a training from it with --config.init_from={shown(args.output)}.")
    return 0
