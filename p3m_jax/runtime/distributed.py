"""Runs one program as several processes on many hosts.

Every process runs the same command. JAX detects Slurm, Open MPI, TPU pods and Kubernetes by itself;
elsewhere the user specifies how the processes find each other. Work that only one process may do,
such as drawing portraits or writing a log, is done by the first process while the others wait.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from p3m_jax.errors import OptionError, UserError

HELP = (
    "auto (detected from Slurm, Open MPI, TPU pods or Kubernetes), off, or HOST:PORT,N,I: the "
    "first process's address, the number of processes, and the index of this process, from 0"
)
# A process without a heartbeat for this long is considered lost, and the whole run ends.
HEARTBEAT_SECONDS = 60
START_SECONDS = 300
_AGAIN = (
    "Start all processes again with the same command: training resumes from its latest checkpoint."
)

T = TypeVar("T")


class DistributedError(UserError):
    """The processes of a job cannot work together; the message says what to do."""


def settings(choice: str) -> dict[str, Any] | None:
    """Converts `--distributed` to arguments of `jax.distributed.initialize`; None for "off".

    Raises:
      OptionError: the value has none of the three allowed forms.
    """
    if choice == "off":
        return None
    if choice == "auto":
        return {}
    named = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", choice)
    if named is None:
        raise OptionError(f"--distributed={choice}: must be {HELP}.")
    address, count, index = named[1], int(named[2]), int(named[3])
    if index >= count:
        raise OptionError(
            f"--distributed={choice}: there is no process {index} among {count}; the first is 0."
        )
    return {"coordinator_address": address, "num_processes": count, "process_id": index}


@contextlib.contextmanager
def connected(choice: str) -> Iterator[None]:
    """Connects this process with the other processes of its job, for a `with` block.

    Enter the block before JAX is used. Only the first process prints: standard output and
    progress bars of the others are off. A process that fails exits at once, because a normal exit
    would wait for the others. `choice` is a value of `--distributed`, see `settings`.

    Raises:
      OptionError: `choice` is not a valid value.
      DistributedError: the job is not detected, or its processes do not find each other.
    """
    wanted = settings(choice)
    if wanted is None:
        yield
        return
    import jax

    try:
        jax.distributed.initialize(
            **wanted,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=START_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistributedError(
            f"--distributed={choice}: the processes of this job do not find each other "
            f"({reason}); the option must be {HELP}."
        ) from None
    with contextlib.ExitStack() as stack:
        if not is_first():
            os.environ["TQDM_DISABLE"] = "1"
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            with _last_word(
                "This process was ended at once: another process of this job is gone, or the "
                f"system killed this one. {_AGAIN}"
            ):
                yield
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) else 1
            if not isinstance(error, SystemExit):
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            if code:
                os._exit(code if isinstance(code, int) else 1)
            raise
    jax.distributed.shutdown()


def lost_peer(error: Exception) -> str | None:
    """Returns a message if `error` means that another process is gone; else None."""
    signs = ("Gloo", "NCCL", "heartbeat", "coordination", "Connection reset", "DEADLINE_EXCEEDED")
    if count() == 1 or not any(sign in str(error) for sign in signs):
        return None
    return f"Another process of this job is gone, and none can continue without it. {_AGAIN}"


@contextlib.contextmanager
def _last_word(sentence: str) -> Iterator[None]:
    """Prints `sentence` if this process is ended within the body before Python can react.

    JAX does this to a process that waits for a lost one, from the thread that counts the
    heartbeats. A shell waits for a word from this process, and prints the sentence if its input
    ends without one.
    """
    script = """trap "" HUP INT TERM; read -r word || printf '\\n%s\\n' "$1" >&2"""
    command = ["sh", "-c", script, "sh", sentence]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as waiting:
        try:
            yield
        finally:
            waiting.communicate(b"well\n")


def count() -> int:
    """Returns the number of connected processes, 1 if none are; does not initialize devices."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax and jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the first one, which writes files and prints."""
    return count() == 1 or sys.modules["jax"].process_index() == 0


@contextlib.contextmanager
def first_in_turn(what: str) -> Iterator[None]:
    """Runs a `with` block on the first process, and then on all others at the same time.

    For instance, the first process writes files. The others then find the files and skip writing.
    If the block fails on one process, all processes end.

    Args:
      what: what the block prepares, for messages ("the data set").

    Raises:
      DistributedError: another process failed; its own message says why.
    """
    if count() == 1:
        yield
        return
    if not is_first():
        _agree(True, what)  # the first is done
    try:
        yield
    except BaseException:
        with contextlib.suppress(DistributedError):
            _agree(False, what)
        raise
    if is_first():
        _agree(True, what)
    _agree(True, what)  # the others are done


def _agree(well: bool, what: str) -> None:
    if not all(gather([well])):
        raise DistributedError(
            f"Another process of this job failed while preparing {what}; see its message."
        )


def wait_for_all(what: str) -> None:
    """Waits until all processes have called this function, for up to a day.

    Use it before a collective operation of JAX if a process may arrive late. The operation itself
    would give up after seconds. `what` names the wait; all processes must use the same name.
    """
    if count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=what, timeout_ms=24 * 3600 * 1000)


def gather(values: Sequence[T]) -> list[T]:
    """Joins the lists `values` of all processes, and returns the joined list on every process.

    The first process's values come first, and so on. The values must be JSON values. All processes
    must call this function; each waits for the others.
    """
    if count() == 1:
        return list(values)
    import numpy as np
    from jax.experimental import multihost_utils

    wait_for_all("gather")
    text = np.frombuffer(json.dumps(list(values)).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(text)] = text
    texts = np.asarray(multihost_utils.process_allgather(padded))
    parts = [json.loads(bytes(row[:length])) for row, length in zip(texts, lengths, strict=True)]
    return [value for part in parts for value in part]


def share(values: Sequence[T]) -> Sequence[T]:
    """Returns this process's share of `values`: every n-th value if there are n processes."""
    if count() == 1:
        return values
    return values[sys.modules["jax"].process_index() :: count()]


def in_order(gathered: Sequence[T]) -> list[T]:
    """Reorders results that were computed with `share` and joined with `gather`.

    The results are returned in the order of the values that were passed to `share`.
    """
    order = [at for process in range(count()) for at in range(process, len(gathered), count())]
    return [
        value for _, value in sorted(zip(order, gathered, strict=True), key=lambda pair: pair[0])
    ]
