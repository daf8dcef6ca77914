"""Makes the C library use large memory pages, which reduces page faults.

A network's intermediate arrays are returned to the system after each picture or training step, and
allocated again for the next. With pages of 4 kB, this causes 80,000 page faults for one matte of
1080 x 1620 pixels. The C library reads its setting from the environment when the program starts.
"""

import contextlib
import os
import sys
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"
_LARGE_PAGES = "glibc.malloc.hugetlb=1"  # since glibc 2.35: requests large pages as arrays grow
_RESTARTED = "p3m_large_pages"  # an interpreter option, as the environment may be cleared
_SWITCH = "P3M_LARGE_PAGES"  # off: the user wants none
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_large_pages() -> None:
    """Restarts this program within its process, so that the C library requests large pages.

    Call it once the options are read, before any work is done. Nothing happens in these cases:

    - The system uses large pages always or never.
    - The C library is not glibc.
    - The user has set P3M_LARGE_PAGES to off, or GLIBC_TUNABLES to any value.
    - The process belongs to another program: a debugger, a notebook, or an interpreter that has
      read its program from a pipe.
    """
    wanted = environment()
    if not wanted or _RESTARTED in sys._xoptions or not _is_the_program():
        return
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # the program then continues without large pages
        again = [sys.executable, "-X", _RESTARTED, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, os.environ | wanted)


def _is_the_program() -> bool:
    """Whether running this process's command line again would start the same program."""
    options = sys.argv[1:]
    own = sys.orig_argv[len(sys.orig_argv) - len(options) :] == options
    return bool(own and sys.executable and sys.argv[0] not in ("", "-") and not sys.gettrace())


def environment() -> dict[str, str]:
    """Returns the environment variables to set for large pages; empty if none should be set."""
    refused = _TUNABLES in os.environ or os.environ.get(_SWITCH) == "off"
    return {_TUNABLES: _LARGE_PAGES} if not refused and _on_request() else {}


def describe() -> str:
    """Says in a few words whether this process requests large pages, and why."""
    if _RESTARTED in sys._xoptions:
        return f"requested, by starting again; {_SWITCH}=off prevents it"
    if os.environ.get(_SWITCH) == "off":
        return f"not requested: {_SWITCH}=off"
    if _TUNABLES in os.environ:
        return f"left to {_TUNABLES}={os.environ[_TUNABLES]}"
    return "available, not requested" if _on_request() else "left to the system"


def _on_request() -> bool:
    """Whether the system provides large pages on request, and the C library can request them."""
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        knows = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        return knows and "[madvise]" in _SYSTEM.read_text()
    except (OSError, ValueError, AttributeError):  # another system
        return False
