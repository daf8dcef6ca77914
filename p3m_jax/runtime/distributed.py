"""One program on many hosts: connecting its processes, and doing things once among them.

Every process runs the same command. JAX's own detection finds Slurm, Open MPI, TPU pods and
Kubernetes; elsewhere the processes are told each other's place. What only one may do (drawing
portraits, writing a log) the first does, while the others wait.
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
    "auto (Slurm, Open MPI, TPU pods, Kubernetes say who is who), off, or HOST:PORT,N,I: the first "
    "process's address, the number of processes, and which of them this is, from 0"
)
# A process that gives no sign of life for so long is lost, and with it the run.
HEARTBEAT_SECONDS = 60
START_SECONDS = 300
_AGAIN = (
    "Start all of them again with the same command: a training goes on from its latest checkpoint."
)

T = TypeVar("T")


class DistributedError(UserError):
    """The processes of a job that cannot work together; the message says what to do."""


def settings(choice: str) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is told for a value of `--distributed`; None for off.

    Raises:
      OptionError: it is none of the three forms.
    """
    if choice == "off":
        return None
    if choice == "auto":
        return {}
    named = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", choice)
    if named is None:
        raise OptionError(f"--distributed={choice}: it is {HELP}.")
    address, count, index = named[1], int(named[2]), int(named[3])
    if index >= count:
        raise OptionError(
            f"--distributed={choice}: there is no process {index} among {count}; they count from 0."
        )
    return {"coordinator_address": address, "num_processes": count, "process_id": index}


@contextlib.contextmanager
def connected(choice: str) -> Iterator[None]:
    """Connects this process with the others of its job, before JAX is used, as `settings` says.

    All but the first are silent: their standard output goes nowhere, and their bars are off. A
    process that fails leaves at once: by the usual way out it would wait for the others.

    Raises:
      OptionError: `choice` is no such value.
      DistributedError: they are not found, or do not find each other.
    """
    wanted = settings(choice)
    if wanted is None:
        yield
        return
    import jax

    bounds = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "initialization_timeout": START_SECONDS,
        "shutdown_timeout_seconds": HEARTBEAT_SECONDS,
    }
    try:
        jax.distributed.initialize(**wanted, **bounds)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistributedError(
            f"--distributed={choice}: the processes of this job do not find each other "
            f"({reason}); it is {HELP}."
        ) from None
    with contextlib.ExitStack() as stack:
        if not is_first():
            os.environ["TQDM_DISABLE"] = "1"
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            with _last_word(
                "This process was ended at once: another process of this job is gone, or the "
                f"system killed it. {_AGAIN}"
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
    """A sentence where JAX's `error` comes from another process being gone; None for others."""
    signs = ("Gloo", "NCCL", "heartbeat", "coordination", "Connection reset", "DEADLINE_EXCEEDED")
    if count() == 1 or not any(sign in str(error) for sign in signs):
        return None
    return f"Another process of this job is gone, and none can go on without it. {_AGAIN}"


@contextlib.contextmanager
def _last_word(sentence: str) -> Iterator[None]:
    """Has `sentence` said if this process ends within the body without Python having a say.

    So JAX ends one that waits for a lost peer, on the thread that counts the heartbeats. A shell
    waits for this process's word, and speaks where its input ends without one.
    """
    script = """trap "" HUP INT TERM; read -r word || printf '\\n%s\\n' "$1" >&2"""
    command = ["sh", "-c", script, "sh", sentence]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as waiting:
        try:
            yield
        finally:
            waiting.communicate(b"well\n")


def count() -> int:
    """How many processes are connected; looks for no device, and needs no JAX where none are."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax and jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return count() == 1 or sys.modules["jax"].process_index() == 0


@contextlib.contextmanager
def first_in_turn(what: str) -> Iterator[None]:
    """The body on the first process, and when that is done, on all others.

    What the first has made the others find. Where one fails, all end.

    Args:
      what: it is, for messages ("the data set").

    Raises:
      DistributedError: another process failed, whose own message says why.
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
        raise DistributedError(f"Another process of this job failed with {what}; see its message.")


def gather(values: Sequence[T]) -> list[T]:
    """The JSON values of all processes, one after the other: of the first, of the second, ...

    It waits for all of them, for a day if need be: a collective by itself gives up after seconds.
    """
    if count() == 1:
        return list(values)
    import numpy as np
    from jax.experimental import multihost_utils
    from orbax.checkpoint import multihost

    multihost.get_barrier_sync_fn()(key="gather", timeout_ms=24 * 3600 * 1000)
    text = np.frombuffer(json.dumps(list(values)).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(text)] = text
    texts = np.asarray(multihost_utils.process_allgather(padded))
    parts = [json.loads(bytes(row[:length])) for row, length in zip(texts, lengths, strict=True)]
    return [value for part in parts for value in part]


def share(values: Sequence[T]) -> Sequence[T]:
    """What of `values` falls to this process: every n-th of them."""
    if count() == 1:
        return values
    return values[sys.modules["jax"].process_index() :: count()]


def in_order(gathered: Sequence[T]) -> list[T]:
    """What was gathered of the results of all processes' `share`s, in the order of the whole."""
    order = [at for process in range(count()) for at in range(process, len(gathered), count())]
    return [
        value for _, value in sorted(zip(order, gathered, strict=True), key=lambda pair: pair[0])
    ]
