"""Measures the cost per picture of preparing a set, by threads and by Apache Beam's direct runner.

    python benchmarks/preparation.py --pair PICTURES MATTES --work areas estimate hidden
    python benchmarks/preparation.py --pair P3M/train/blurred_image P3M/train/mask --work estimate

Every way is a command as a user runs it, in its own process, with an empty cache:

- `areas`: `p3m areas`, which searches for faces (or uses `--facemasks`);
- `estimate`: `p3m estimate` of the unchanged pictures;
- `hidden`: the same after blurring their face areas, which already exist.

The engines take turns. The figures include the time to start a worker (loading networks and what
PyMatting has compiled), which dominates if there are few pictures. So each way runs with every
picture under several names (`--copies`). The difference between two numbers of copies gives the
cost of one more picture, which tells how large a cluster must be. Afterwards the caches of both
engines are compared bit for bit. --quick draws two portraits and uses only threads.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import command_line as cli

from p3m_jax.data.folders import list_folder
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.pictures.images import picture_size

WORKERS = 2
ENGINES = {
    "threads": ("--workers", str(WORKERS)),
    "beam": (
        *("--engine", "beam", "--", f"--direct_num_workers={WORKERS}"),
        "--direct_running_mode=multi_processing",
    ),
}
FIGURES = ("pictures", "wall", "processor", "read", "written")
_TALLY = re.compile(
    r"(\d+) done.*picture: ([\d.]+) processor seconds, ([\d.]+) MB read, ([\d.]+) MB written"
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


def measure(work: str, engine: str, folders: dict[str, Path], cache: Path) -> dict[str, float]:
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
        raise SystemExit(done.stderr)
    *_, line = [line for line in done.stdout.splitlines() if _TALLY.search(line)]
    count, processor, read, written = map(float, _TALLY.search(line).groups())
    return dict(zip(FIGURES, (count, seconds, count * processor, read, written), strict=True))


def content(cache: Path) -> dict[Path, bytes]:
    """The contents of a cache's files, by path."""
    return {path.relative_to(cache): path.read_bytes() for path in cache.glob("*/*")}


def synthetic_pair(folder: Path) -> list[tuple[Path, Path]]:
    """The folders of pictures and mattes of two drawn portraits."""
    made = write_synthetic_set(folder / "set", train=2, test=0, faces=0, size=(64, 64))
    return [(made / "train" / "original_image", made / "train" / "mask")]


def main(argv: list[str] | None = None) -> None:
    """Prints a row for each way, and the cost of one more picture."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--pair", nargs=2, action="append", metavar="DIR")
    parser.add_argument("--facemasks", action="append", metavar="DIR")
    parser.add_argument(
        "--work",
        nargs="+",
        choices=("areas", "estimate", "hidden"),
        default=["areas", "estimate", "hidden"],
        help="the kinds of work to measure; hidden must come after areas",
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--copies", nargs=2, type=int, default=(1, 5))
    args = cli.parse(parser, argv, work=["estimate"], engines=["threads"], copies=(1, 2))
    if not (args.pair or args.quick):
        cli.refuse("--pair: at least one folder of pictures and one of their mattes are needed.")
    rows, taken = [], {}
    with tempfile.TemporaryDirectory() as place:
        pairs = args.pair or synthetic_pair(Path(place))
        print(f"{cli.machine()}; {WORKERS} workers")
        table = cli.Table("work", "engine", "pictures", "s", "processor s", "MB read", "MB written")
        for copies in args.copies:
            base = Path(place) / str(copies)
            folders = link_set(pairs, args.facemasks, copies, base)
            for work in args.work:
                for engine in args.engines:
                    figures = measure(work, engine, folders, base / engine / work)
                    taken[work, engine, copies] = figures
                    rows.append({"work": work, "engine": engine, "copies": copies} | figures)
                    shown = (f"{figures[key]:.3f}" for key in FIGURES[1:])
                    table.row(work, engine, f"{figures['pictures']:.0f}", *shown)
                if any(
                    content(base / engine / work) != content(base / args.engines[0] / work)
                    for engine in args.engines
                ):
                    raise SystemExit(f"{work}: the engines wrote different files.")
        sizes = [picture_size(path) for path in folders["pictures"].iterdir()]
    pixels = sum(height * width for height, width in sizes) / len(sizes)
    print(f"\nMean size {pixels / 1e6:.2f} million pixels; the engines wrote equal files.\n")
    table = cli.Table("work", "engine", "one more picture, processor s", "starting the workers, s")
    for work in args.work:
        for engine in args.engines:
            few, many = (taken[work, engine, copies] for copies in args.copies)
            more = many["pictures"] - few["pictures"]
            each = (many["processor"] - few["processor"]) / more
            start = few["processor"] - few["pictures"] * each
            table.row(work, engine, f"{each:.3f}", f"{start:.1f}")
    cli.write_report(args, rows, mean_pixels=pixels)


if __name__ == "__main__":
    cli.run(main)
