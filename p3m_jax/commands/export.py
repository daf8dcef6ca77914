"""`p3m export`: the weights of a run as an inference checkpoint."""

import argparse

HELP = "write the weights of a run, without the optimiser, as an inference checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "checkpoint", metavar="PATH", help="a run's folder (its best step), or one of its steps"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new folder")


def run(args: argparse.Namespace) -> int:
    """Exports; returns the exit code."""
    from p3m_jax.checkpoint import load_for_inference, save_for_inference

    source = load_for_inference(args.checkpoint)
    save_for_inference(args.output, source.variables, source.description)
    step = source.provenance.get("step", "an unknown step")
    print(f"Exported {source.model_name} of step {step} from {source.path} to {args.output}.")
    return 0
