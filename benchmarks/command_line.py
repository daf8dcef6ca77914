"""What the benchmarks share: options, --quick, tables and reports.

`parse` understands --quick: the smallest sizes once, with the pictures and the small network of
this clone. A benchmark that cannot run says why in one sentence and exits with code 2.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

CLONE = Path(__file__).resolve().parents[1]
PICTURE = CLONE / "docs" / "images" / "astronaut.jpg"
NETWORKS = ("resnet34", "swin", "vitae_s")
SMALL = "small"  # the network of tests/helpers/small_network.py
MEANINGLESS = "--quick: the smallest sizes once; these figures mean nothing."
_PACKAGES = ("jax", "jaxlib", "tensorflow-cpu", "tensorflow", "torch", "numpy")


def options_of(text: str) -> argparse.ArgumentParser:
    """A parser whose help is `text`, with --quick and --json."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="try the program in seconds; the figures mean nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements")
    return parser


def parse(parser, argv: list[str] | None, **quick) -> argparse.Namespace:
    """Parses the command line; with --quick, `quick` replaces the defaults."""
    given = sys.argv[1:] if argv is None else argv
    if "--quick" in given:
        parser.set_defaults(**quick)
        print(MEANINGLESS)
    return parser.parse_args(given)


def refuse(sentence: str) -> NoReturn:
    """Ends the program with a sentence that says what is missing, and code 2."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def run(main) -> NoReturn:
    """Runs a benchmark's `main`; what a user can mend is said in a sentence."""
    from p3m_jax.errors import UserError

    try:
        code = main()
    except UserError as error:
        refuse(str(error))
    raise SystemExit(code)


def add_reference(parser, *, training: bool = False) -> None:
    """Declares the options that name the authors' program; `training`: also that of 2021."""
    parser.add_argument(
        "--reference", type=Path, metavar="CHECKOUT", help="a checkout of ViTAE-Transformer/P3M-Net"
    )
    parser.add_argument("--reference-python", metavar="PYTHON", help="an interpreter with PyTorch")
    if training:
        parser.add_argument(
            "--reference-training", type=Path, metavar="CHECKOUT", help="one of JizhiziLi/P3M"
        )


def check_reference(parser, args, file: str = "infer.py") -> None:
    """Ends the program with an error message if these options do not fit."""
    if (args.reference is None) != (args.reference_python is None):
        parser.error("--reference and --reference-python must be given together.")
    if args.reference and not (args.reference / "core" / file).is_file():
        parser.error(f"{args.reference}: holds no core/{file}.")


class Table:
    """A table in Markdown, printed row by row."""

    def __init__(self, *titles: str):
        self._columns = len(titles)
        self.row(*titles)
        print("|" + "---|" * self._columns)

    def row(self, *cells) -> None:
        """Prints a row with a cell for each title."""
        if len(cells) != self._columns:
            raise ValueError(f"{len(cells)} cells for {self._columns} columns: {cells}")
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def megabytes(amount: float) -> str:
    """Formats bytes as MB."""
    return f"{amount / 1e6:.0f}"


def gigabytes(amount: float) -> str:
    """Formats bytes as GB."""
    return f"{amount / 1e9:.2f}"


def machine() -> str:
    """Names the processor and its number of cores."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def write_report(args, rows: list, **more) -> None:
    """Writes the rows to --json, with machine, versions and settings; nothing without --json."""
    if args.json is None:
        return
    versions = {"ours": _versions()}
    if getattr(args, "reference_python", None):
        told = [args.reference_python, __file__]
        versions["theirs"] = json.loads(
            subprocess.run(told, check=True, capture_output=True, text=True).stdout
        )
    report = {"machine": machine(), "versions": versions, "settings": vars(args), **more}
    args.json.write_text(json.dumps({**report, "rows": rows}, indent=2, default=str) + "\n")


def _versions() -> dict[str, str]:
    """The versions of this interpreter and of its numerical packages."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":  # how the other interpreter is asked
    print(json.dumps(_versions()))
