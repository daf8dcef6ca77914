"""Runs `p3m anonymize` on folders of pictures; reports counts, reasons, time and contact sheets.

    python benchmarks/privacy_collection.py FOLDER ... -o OUT [--than OTHER] [-- --mode fill]

The copies go to OUT/copies. The program prints a Markdown table, and writes contact sheets of the
copies that were released, `OUT/sheets/passed_001.png`, ...: any clear face on them was missed.
OTHER is the OUT of an earlier run on the same folders; with it, the sheets show only pictures that
OTHER held back. Arguments after -- are passed to the command. Sheets and copies show people: do not
publish them.

Seconds are those of one core, for everything that the process does from start to end.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import command_line as cli
import numpy as np
from privacy import trial

from p3m_jax.anonymizing.sheets import COLUMNS, ROWS, cell, sheet
from p3m_jax.anonymizing.work import PICTURE
from p3m_jax.pictures.images import read_picture, write_image


def anonymized(folders: list[Path], output: Path, options: list[str]) -> float:
    """Runs the command; returns the seconds of one core that it took."""
    command = [sys.executable, "-m", "p3m_jax.cli", "anonymize", *map(str, folders)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "-o", str(output), "--full-names", *options])
    if done.returncode not in (0, 3):
        raise SystemExit(f"p3m anonymize ended with exit code {done.returncode}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def passed_on(output: Path) -> dict[str, Path]:
    """The copies of a run, by the names of their pictures."""
    entries = map(json.loads, (output / "manifest.jsonl").read_text().splitlines())
    done = [entry["name"] for entry in entries if entry.get("status") == "done"]
    copies = {path: path.with_suffix("") for path in (output / PICTURE).rglob("*")}
    by_name = {str(stem.relative_to(output / PICTURE)): path for path, stem in copies.items()}
    return {name: by_name[name] for name in done}


def reasons(output: Path) -> tuple[int, Counter]:
    """The number of pictures that need review, and the number for each reason."""
    file = output / "keep_private" / "review" / "review.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    waiting = [json.loads(line)["reasons"] for line in lines]
    return len(waiting), Counter(reason for found in waiting for reason in found)


def write_sheets(copies: dict[str, Path], folder: Path) -> None:
    """Writes contact sheets of pictures, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    names, size = sorted(copies), COLUMNS * ROWS
    for number, first in enumerate(range(0, len(names), size), 1):
        cells = []
        for name in names[first : first + size]:
            pixels = read_picture(copies[name])
            cells.append(cell(pixels, np.zeros(pixels.shape[:2], np.uint8), name, ""))
        write_image(folder / f"passed_{number:03d}.png", sheet(cells))


def main(argv: list[str] | None = None) -> None:
    """Runs the command, prints the table, and writes the sheets."""
    parser = cli.options_of(__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="pictures")
    parser.add_argument("-o", "--output", type=Path, help="folder for copies and sheets")
    parser.add_argument("--than", type=Path, help="show only what this earlier run held back")
    given, options = list(sys.argv[1:] if argv is None else argv), []
    if "--" in given:
        split = given.index("--")
        given, options = given[:split], given[split + 1 :]
    args = cli.parse(parser, given)
    if not args.quick and not (args.folders and args.output):
        cli.refuse("FOLDER and -o: a folder of pictures, and a folder for the copies, are needed.")

    with tempfile.TemporaryDirectory() as scratch:
        folders, output = args.folders, args.output or Path(scratch) / "out"
        if not folders:
            folders = [Path(scratch) / "pictures"]
            folders[0].mkdir()
            write_image(folders[0] / "portrait.png", trial.portrait())
        seconds = anonymized(folders, output / "copies", options)
        passed = passed_on(output / "copies")
        waiting, why = reasons(output / "copies")
        earlier = passed_on(args.than / "copies") if args.than else {}
        new = {name: path for name, path in passed.items() if name not in earlier}
        write_sheets(new, output / "sheets")
    count = len(passed) + waiting
    found = {"released": len(passed), "need review": waiting}
    found |= {f"- {reason}": number for reason, number in why.most_common()}
    print()
    table = cli.Table(f"of {count} pictures", "")
    for title, number in found.items():
        table.row(title, f"{number} ({number / count:.0%})")
    table.row("seconds of one core per picture", f"{seconds / count:.2f}")
    print(f"\n{len(new)} copies to check in {output / 'sheets'}")
    cli.write_report(args, [found | {"pictures": count, "core_seconds": seconds}])


if __name__ == "__main__":
    cli.run(main)
