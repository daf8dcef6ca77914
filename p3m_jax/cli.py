"""The command line `p3m`: parses its arguments and runs one command."""

import argparse
import importlib
import keyword
import sys

from p3m_jax.commands.options import Parser
from p3m_jax.runtime.large_pages import restart_with_large_pages
from p3m_jax.version import __version__

COMMANDS = (
    "train",
    "check",
    "areas",
    "estimate",
    "synthesize",
    "records",
    "evaluate",
    "ppt",
    "predict",
    "anonymize",
    "import",
    "export",
    "doctor",
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line `argv`, by default the process's arguments; returns the exit code."""
    parser = Parser(
        prog="p3m",
        description="Privacy-preserving portrait matting in JAX.",
    )
    parser.add_argument("--version", action="version", version=f"p3m-jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name in COMMANDS:
        module = f"{name}_" if keyword.iskeyword(name) else name
        modules[name] = importlib.import_module(f"p3m_jax.commands.{module}")
        command = commands.add_parser(
            name, help=modules[name].HELP, description=_sentence(modules[name].HELP)
        )
        modules[name].add_arguments(command)
    from p3m_jax.commands import one_sentence_errors
    from p3m_jax.commands.preparing import split_engine_options

    rest, engine_options = split_engine_options(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(rest, argparse.Namespace(engine_options=engine_options))
    if argv is None:
        restart_with_large_pages()
    with one_sentence_errors():
        return modules[args.command].run(args)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    sys.exit(main())
