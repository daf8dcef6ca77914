"""The commands `p3m NAME`, and how they report errors.

Each command is a module with HELP, `add_arguments` and `run`.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from p3m_jax.errors import OptionError, UserError
from p3m_jax.runtime.accelerators import no_device
from p3m_jax.runtime.distributed import lost_peer
from p3m_jax.text import warn

# Exit codes besides 0, 1 for failures, and 2 for wrong options.
NEEDS_REVIEW = 3
INTERRUPTED = 130  # by Ctrl-C or SIGTERM


@contextlib.contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Replaces the traceback with one sentence and exits, if the user can fix the error.

    This is a context manager: a command runs in its `with` block. The exit code is 2 for wrong
    options and 1 for other errors that the user can fix: `UserError`, the system's errors about
    files and disks, and JAX's errors, such as lack of memory or of a device. A bug keeps its
    traceback. Ctrl-C and SIGTERM exit with code 130 (`INTERRUPTED`); finished outputs remain.
    """
    # Some terminals cannot show every character.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if a program has replaced it
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_interrupts():
            yield
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - Python flushes it at exit
        raise SystemExit(141) from None
    except (UserError, OSError) as error:
        lines: Sequence[object] = error.args if isinstance(error, UserError) else [error]
        if isinstance(error, OSError) and error.filename:
            lines = [f"{error.filename}: {error.strerror}"]
        warn("", *lines)
        raise SystemExit(2 if isinstance(error, OptionError) else 1) from None
    except (RuntimeError, AssertionError, ValueError) as error:
        sentence = lost_peer(error)
        if sentence is None and not isinstance(error, ValueError):
            sentence = no_device() if "jax" in sys.modules else None
        if sentence is None:
            if not type(error).__module__.startswith("jax"):
                raise
            # Only the first line: pages of details follow it.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            sentence = f"The network could not run: {reason}"
        warn("", sentence)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        warn("", "Interrupted.")
        raise SystemExit(INTERRUPTED) from None


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM, which schedulers and containers send, interrupt as Ctrl-C does.

    Handlers that were set before, such as those of the training loop, are kept.
    """
    unset = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not unset or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
