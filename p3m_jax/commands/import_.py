"""`p3m import`: converts the authors' weights, or a safetensors file, to a checkpoint."""

import argparse

from p3m_jax.commands.options import add_output
from p3m_jax.text import say, shown

HELP = "convert a .pth or .safetensors file with the authors' parameter names to a checkpoint"

EPILOG = """\
An imported network can predict, be evaluated and be fine-tuned. An imported ImageNet backbone can
only be used to start training, with --config.init_from=DIR. docs/importing.md lists the files that
the authors published. No code in a .pth file is run: a file that contains anything but arrays and
plain settings is refused.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "file", metavar="FILE", help="a .pth, .pt, .pth.tar or .safetensors file to import"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the network in the file: resnet34, swin or vitae_s (default: recognised by the names "
        "of the arrays)",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="accept an ordinary ResNet-34 (torchvision's) as a starting point for training, "
        "although it uses strides where this network uses pooling; the checkpoint records this",
    )
    add_output(parser, "a new folder for the checkpoint")


def run(args: argparse.Namespace) -> int:
    """Imports the file and prints what was imported; returns the exit code."""
    from p3m_jax.checkpoints.weights import new_checkpoint
    from p3m_jax.interchange.importing import import_weights

    new_checkpoint(args.output)  # checked early, because reading the file takes long
    imported = import_weights(args.file, args.output, args.model, approximate=args.approximate)
    contents, file = imported.contents, imported.file
    parameters, statistics = (
        sum(array.size for array in part.values()) for part in imported.variables
    )
    what = "P3M-Net" if contents.part == "network" else "only the encoder"
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
