"""Options and messages that `predict` and `anonymize` share: both work through a collection."""

import signal
import warnings

from p3m_jax.commands.options import at_least, gigabytes, share
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.runtime.machine import available_cores
from p3m_jax.text import counted, warn


def add_writing(out) -> None:
    """Adds how files are named and whether they may be replaced, to a group of options."""
    out.add_argument(
        "--quality", type=at_least(1), default=95, metavar="N", help="of JPEG and WebP (95)"
    )
    out.add_argument(
        "--full-names", action="store_true", help="a.jpg becomes a.jpg.png instead of a.png"
    )
    out.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing outputs; pictures that are done with these settings and have not "
        "changed are skipped as always",
    )


def add_machine(machine, *, threads: str, memory: str) -> None:
    """Adds how much of the machine is used; `threads` and `memory` say for what."""
    machine.add_argument(
        "--workers",
        type=at_least(1),
        default=available_cores(),
        metavar="N",
        help=f"threads that {threads}, and as many that write (default: all cores)",
    )
    machine.add_argument(
        "--max-memory",
        type=gigabytes,
        metavar="GB",
        help=f"{memory} (default: three quarters of the machine's)",
    )


def add_share(machine, *, last: str) -> None:
    """Adds which share of the pictures to do; `last` says what a run without it then does."""
    machine.add_argument(
        "--share",
        type=share,
        metavar="I/N",
        help="do only the I-th (from 0) of N shares of the pictures: run the command N times, on "
        "one host or several that share the folders, each with another I; a last run without this "
        f"option skips what is done and {last}",
    )


def prepare(plan) -> None:
    """Prints a plan's notes, and makes SIGTERM an interruption that leaves all in order."""
    warn(*plan.notes)
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.filterwarnings("ignore", module="PIL")  # what matters is in the manifest


def _interrupt(number, frame):
    raise KeyboardInterrupt


def say_what_is_missing(plan) -> bool:
    """Prints what a plan's folders hold and is not read; returns whether some stayed closed."""
    for sentence in plan.closed:
        warn(f"Failed: {sentence}")
    warn_of([plan.left_out] if plan.left_out else [])
    return bool(plan.closed)


def time_taken(outcome, seconds: float) -> str:
    """The seconds of a run, and those for each picture that was read, for its summary."""
    each = f", {seconds / outcome.tried:.2f} s a picture" if outcome.tried else ""
    return f"{seconds:.1f} s{each}"


def say_why_it_ended(outcome, total: int) -> None:
    """Prints why a run ended before it had tried all of its `total` pictures, if it did."""
    rest = total - outcome.done - outcome.skipped
    rest -= len(outcome.waiting) + len(outcome.failed)
    if outcome.stopped:
        warn(
            f"Stopped: {outcome.stopped}. {counted(rest, 'picture')} left. Make room and run the "
            "same command again to resume."
        )
    elif outcome.interrupted:
        warn(
            f"Interrupted with {counted(rest, 'picture')} left. Run the same command again to "
            "resume."
        )
