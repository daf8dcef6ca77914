"""Options and messages that `predict` and `anonymize` share: both process many pictures."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3m_jax.commands import INTERRUPTED, NEEDS_REVIEW
from p3m_jax.commands.options import Options, add_workers, at_least, gigabytes, share
from p3m_jax.errors import OptionError
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.runtime.machine import default_memory
from p3m_jax.text import counted, warn

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.jobs.manifest import Manifest
    from p3m_jax.jobs.plan import Job, Plan
    from p3m_jax.jobs.work import JobOutcome, Work


def add_inputs(parser: argparse.ArgumentParser, examples: str) -> None:
    """Adds the argument for the pictures to process; `examples` are shown below the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = examples
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures or folders of them")


def add_writing(out: Options) -> None:
    """Adds `--quality`, `--full-names` and `--overwrite` to the option group `out`."""
    out.add_argument(
        "--quality",
        type=at_least(1, 100),
        default=95,
        metavar="N",
        help="quality of JPEG and WebP files, 1 to 100 (default: 95)",
    )
    out.add_argument(
        "--full-names",
        action="store_true",
        help="write the output of a.jpg to a.jpg.png instead of a.png",
    )
    out.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing outputs. Pictures that are already done with the same settings, and "
        "that have not changed, are still skipped",
    )


def add_machine(machine: Options, *, threads: str, memory: str) -> None:
    """Adds `--workers` and `--max-memory` to an option group.

    Args:
      machine: the option group.
      threads: what the threads do, for the help of `--workers` ("search for faces").
      memory: the purpose of the limit, for the help of `--max-memory`.
    """
    add_workers(machine, f"{threads}; the same number of threads write files")
    machine.add_argument(
        "--max-memory",
        type=gigabytes,
        metavar="GB",
        help=f"{memory} (default: three quarters of the machine's memory)",
    )


def add_share(machine: Options, *, last: str) -> None:
    """Adds `--share`, which makes a run process only one of N parts of the pictures.

    After one run for each part, the user runs the command once without `--share`.

    Args:
      machine: the option group.
      last: what the run without `--share` does, for the help ("merges their manifests").
    """
    machine.add_argument(
        "--share",
        type=share,
        metavar="I/N",
        help="process only the I-th of N shares of the pictures (I is 0 to N-1). Run the command "
        "once for each I, on one host or on several that share the folders. Then run it once "
        f"without this option: it skips pictures that are done and {last}",
    )


def memory_limit(args: argparse.Namespace) -> int:
    """Returns how much memory the run may use, in bytes.

    Raises:
      OptionError: `--max-memory` is too small for any run.
    """
    from p3m_jax.jobs.memory import BASE

    memory, least = args.max_memory or default_memory(), 1.5 * BASE
    if memory < least:
        raise OptionError(f"--max-memory must be at least {least / 1e9:.1f} (GB).")
    return memory


def find_pictures(args: argparse.Namespace, output: Path, endings: dict[str, str]) -> "Plan":
    """Finds the pictures in the inputs of a command; returns a `Plan` with a job for each.

    Folders that `predict` or `anonymize` has written are not searched. `endings` maps each kind of
    output to the ending of its files.
    """
    from p3m_jax.anonymizing import work
    from p3m_jax.jobs.plan import make_plan
    from p3m_jax.prediction import outputs

    return make_plan(
        args.inputs,
        output,
        endings,
        full_names=args.full_names,
        written=(*outputs.MATTING_KINDS, *work.ANONYMIZED_KINDS),
    )


def prepare(plan: "Plan") -> None:
    """Prints a plan's notes, and turns off Pillow's warnings.

    The manifest lists the warnings that matter to the user.
    """
    warn(*plan.notes)
    warnings.filterwarnings("ignore", module="PIL")  # the manifest holds the warnings that matter


def run_jobs(
    args: argparse.Namespace,
    manifest: "Manifest",
    jobs: "Sequence[Job]",
    settings: dict[str, dict[str, Any]],
    work: "Work",
    memory: int,
) -> "JobOutcome":
    """Processes the pictures, and returns the outcome.

    Args:
      args: has `workers` and `overwrite`.
      manifest: the manifest of the run, see `open_manifest`.
      jobs: the pictures.
      settings: {kind of output: the settings that affect this kind}.
      work: what is done to each picture.
      memory: the limit for the whole run, in bytes.
    """
    from p3m_jax.jobs.run import Run

    run = Run(
        manifest, settings, work, memory=memory, workers=args.workers, overwrite=args.overwrite
    )
    return run.start(jobs)


def exit_code(outcome: "JobOutcome", *, closed: bool) -> int:
    """Returns the exit code for the outcome of a run.

    `closed` says whether an input folder could not be searched, which counts as a failure.
    """
    if outcome.interrupted:
        return INTERRUPTED
    if outcome.failed or outcome.stopped or closed:
        return 1
    return NEEDS_REVIEW if outcome.waiting else 0


def say_what_is_missing(plan: "Plan") -> bool:
    """Prints which files and folders of the inputs were left out.

    Returns True if a folder was left out because it could not be searched.
    """
    for sentence in plan.closed:
        warn(f"Failed: {sentence}")
    warn_of([plan.left_out] if plan.left_out else [])
    return bool(plan.closed)


def time_taken(outcome: "JobOutcome", seconds: float) -> str:
    """Formats the time of a run for its summary: total seconds, and seconds per picture.

    Skipped pictures, and pictures that could not be read, are not counted.
    """
    each = f", {seconds / outcome.tried:.2f} s a picture" if outcome.tried else ""
    return f"{seconds:.1f} s{each}"


def say_why_it_ended(outcome: "JobOutcome", total: int) -> None:
    """If a run ended early, prints why, and how many of its `total` pictures are left."""
    rest = total - outcome.done - outcome.skipped
    rest -= len(outcome.waiting) + len(outcome.failed)
    if outcome.stopped:
        warn(
            f"Stopped: {outcome.stopped}. {counted(rest, 'picture')} left. Free some disk space "
            "and run the same command again to resume."
        )
    elif outcome.interrupted:
        warn(
            f"Interrupted with {counted(rest, 'picture')} left. Run the same command again to "
            "resume."
        )
