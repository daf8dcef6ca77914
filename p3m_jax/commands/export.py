"""`p3m export`: writes a run's weights as an inference checkpoint or a safetensors file."""

import argparse
from pathlib import Path

from p3m_jax.commands.options import add_output
from p3m_jax.text import say, shown

HELP = "write a run's weights, without the optimiser, as a checkpoint or a safetensors file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "checkpoint",
        metavar="PATH",
        help="a run's folder (exports its best step), or the folder of one of its steps",
    )
    add_output(
        parser,
        "a new folder for a checkpoint, or a new file *.safetensors, which gets the authors' "
        "parameter names and array layout",
        ".safetensors",
        metavar="DIR|FILE",
    )


def run(args: argparse.Namespace) -> int:
    """Exports the weights; returns the exit code."""
    from p3m_jax.checkpoints.weights import load_weights, save_for_inference
    from p3m_jax.interchange.safetensors_file import ENDING, write_safetensors
    from p3m_jax.interchange.state_dict import state_dict_from_variables

    source = load_weights(args.checkpoint)
    if Path(args.output).suffix.lower() == ENDING:
        arrays = state_dict_from_variables(source.network, source.variables)
        write_safetensors(args.output, arrays, source.description)
    else:
        save_for_inference(args.output, source.variables, source.description)
    step = source.provenance.get("step")
    of_step = f" of step {step}" if step is not None else ""
    say(shown(f"Exported {source.model_name}{of_step} from {source.path} to {args.output}."))
    return 0
