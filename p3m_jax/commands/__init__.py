"""The commands `p3m NAME`, a module each with HELP, `add_arguments` and `run`; what they share."""

import contextlib
import os
import sys

from p3m_jax.accelerators import no_device
from p3m_jax.distributed import lost_peer
from p3m_jax.errors import UserError


@contextlib.contextmanager
def one_sentence_errors():
    """Turns the errors that a user can mend into one sentence and exit code 1.

    These are `UserError`s, the system's about files and disks, and JAX's, such as being out of
    memory or having no device. A bug keeps its traceback. Ctrl-C exits with 130.
    """
    # File names need not be text: what cannot be printed is escaped.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for Python's own last flush
        raise SystemExit(141) from None
    except (UserError, OSError) as error:
        named = isinstance(error, OSError) and error.filename
        text = f"{error.filename}: {error.strerror}" if named else str(error)
        print(f"\n{text}", file=sys.stderr)
        raise SystemExit(1) from None
    except (RuntimeError, AssertionError, ValueError) as error:
        sentence = lost_peer(error)
        if sentence is None and not isinstance(error, ValueError):
            sentence = no_device() if "jax" in sys.modules else None
        if sentence is None:
            if not type(error).__module__.startswith("jax"):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]  # pages follow
            sentence = f"The network could not run: {reason}"
        print(f"\n{sentence}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        raise SystemExit(130) from None
