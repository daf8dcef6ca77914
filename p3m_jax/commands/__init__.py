"""The commands `p3m NAME`, and how they report errors.

Each command is a module with HELP, `add_arguments` and `run`.
"""

import contextlib
import os
import sys

from p3m_jax.errors import OptionError, UserError
from p3m_jax.runtime.accelerators import no_device
from p3m_jax.runtime.distributed import lost_peer
from p3m_jax.text import warn


@contextlib.contextmanager
def one_sentence_errors():
    """Turns errors that a user can fix into one sentence and exit code 1, or 2 for wrong options.

    Such errors are `UserError`s, the system's errors about files and disks, and JAX's errors, such
    as being out of memory or finding no device. A bug keeps its traceback. Ctrl-C exits with 130.
    """
    # Some terminals cannot show every character.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - Python flushes it at exit
        raise SystemExit(141) from None
    except (UserError, OSError) as error:
        lines = error.args if isinstance(error, UserError) else [error]
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
        raise SystemExit(130) from None
