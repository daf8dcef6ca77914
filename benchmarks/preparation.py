"""Measures the cost per picture of preparing a set, by threads and by Apache Beam's direct runner.

    python benchmarks/preparation.py --pair PICTURES MATTES --work areas estimate hidden
    python benchmarks/preparation.py --pair P3M/train/blurred_image P3M/train/mask --work estimate

Every way is a command as a user runs it, in its own process, with an empty cache:

- `areas`: `p3m areas`, which searches for faces (or uses `--facemasks`);
- `estimate`: `p3m estimate` of the unchanged pictures;
- `hidden`: the same after blurring their private areas, which already exist.

The engines take turns. The figures include the time to start a worker (loading networks and what
PyMatting has compiled), which dominates if there are few pictures. So each way runs with every
picture under several names (`--copies`). The difference between two numbers of copies gives the
cost of one more picture, which tells how large a cluster must be. Afterwards the caches of both
engines are compared bit for bit.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from p3m_jax.data.folders import list_folder
from p3m_jax.pictures.images import picture_size

WORKERS = 2
ENGINES = {
    "threads": ("--workers", str(WORKERS)),
    "beam": (
        *("--engine", "beam", "--", f"--direct_num_workers={WORKERS}"),
        "--direct_running_mode=multi_processing",
    ),
}
_TALLY = re.compile(
    r"(\d+) done.*picture: ([\d.]+) s of processor, ([\d.]+) MB read, ([\d.]+) MB written"
)


def link_set(pairs, facemasks, copies: int, folder: Path) -> dict[str, Path]:
    """Makes folders of links to all pictures, by role; each picture has `copies` names."""
    roles = {"pictures": [pair[0] for pair in pairs], "mattes": [pair[1] for pair in pairs]}
    if facemasks:
        roles["facemasks"] = facemasks
    listed = {
        role: {stem: f for name in names for stem, f in list_folder(Path(name)).files.items()}
        for role, names in roles.items()
    }
    stems = set.intersection(*map(set, listed.values()))
    for role, files in listed.items():
        (folder / role).mkdir(parents=True)
        for stem in stems:
            for copy in range(copies):
                link = folder / role / f"{stem}_{copy}{files[stem].suffix}"
                link.symlink_to(files[stem].resolve())
    return {role: folder / role for role in listed}


def run(work: str, engine: str, folders: dict[str, Path], cache: Path) -> dict[str, float]:
    """Fills a cache; returns the figures that the command reports, and the wall time in seconds."""
    command = ["areas" if work == "areas" else "estimate", "-o", str(cache)]
    for role, folder in folders.items():
        command += [f"--{role}", str(folder)]
    if work == "hidden":
        command += ["--obfuscation", "blur", "--doubtful", "leave_out"]
        command += ["--private-cache", str(cache.parent / "areas")]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "p3m_jax.cli", *command, *ENGINES[engine]],
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - started
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    *_, line = [line for line in done.stdout.splitlines() if _TALLY.search(line)]
    count, processor, read, written = map(float, _TALLY.search(line).groups())
    return {
        "pictures": count,
        "wall": seconds,
        "processor": count * processor,
        "read": read,
        "written": written,
    }


def content(cache: Path) -> dict[Path, bytes]:
    """The contents of a cache's files, by path."""
    return {path.relative_to(cache): path.read_bytes() for path in cache.glob("*/*")}


def main():
    """Prints a line for each way, and the cost of one more picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", nargs=2, action="append", required=True, metavar="DIR")
    parser.add_argument("--facemasks", action="append", metavar="DIR")
    parser.add_argument(
        "--work",
        nargs="+",
        choices=("areas", "estimate", "hidden"),
        default=["areas", "estimate", "hidden"],
        help="the kinds of work to measure; hidden must come after areas",
    )
    parser.add_argument("--copies", nargs=2, type=int, default=(1, 5))
    args = parser.parse_args()
    taken = {}
    with tempfile.TemporaryDirectory() as place:
        for copies in args.copies:
            base = Path(place) / str(copies)
            folders = link_set(args.pair, args.facemasks, copies, base)
            for work in args.work:
                for engine in ENGINES:
                    cache = base / engine / work
                    taken[work, engine, copies] = figures = run(work, engine, folders, cache)
                    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                    print(f"{work}, {engine}: {shown}", flush=True)
                same = content(base / "threads" / work) == content(base / "beam" / work)
                print(f"{work}: files of both engines are {'equal' if same else 'DIFFERENT'}")
        sizes = [picture_size(path) for path in folders["pictures"].iterdir()]
    pixels = sum(height * width for height, width in sizes) / len(sizes)
    print(f"mean size {pixels / 1e6:.2f} million pixels")
    for work in args.work:
        for engine in ENGINES:
            few, many = (taken[work, engine, copies] for copies in args.copies)
            more = many["pictures"] - few["pictures"]
            each = (many["processor"] - few["processor"]) / more
            start = few["processor"] - few["pictures"] * each
            print(
                f"{work}, {engine}: one more picture {each:.3f} s of processor, {start:.1f} s to "
                f"start {WORKERS} workers"
            )


if __name__ == "__main__":
    main()
