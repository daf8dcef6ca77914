"""Large pages for the arrays of a program, which have to be asked for before it starts.

What a network computes on its way is given back to the system after each picture or step and taken
anew for the next: in pages of 4 kB, 80,000 page faults for one matte of 1080 x 1620 pixels.
"""

import contextlib
import os
import sys
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"
_LARGE_PAGES = "glibc.malloc.hugetlb=1"  # since 2.35: asks the system for them, as arrays grow
_RESTARTED = "p3m_large_pages"  # an interpreter's option: environments may be cleaned on the way
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_large_pages() -> None:
    """Starts this program once more in its process, so that the C library asks for large pages.

    To be called once options are read, before anything is done. Nothing happens where the system
    gives them to all or to nobody, where the C library is not glibc, where GLIBC_TUNABLES is set,
    to whatever the user likes, or where the process is another program's: a debugger's, a
    notebook's, an interpreter's that has read its program from a pipe.
    """
    wanted = environment()
    if not wanted or _RESTARTED in sys._xoptions or not _is_the_program():
        return
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # then it goes on as it is
        again = [sys.executable, "-X", _RESTARTED, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, os.environ | wanted)


def _is_the_program() -> bool:
    """Whether the command line that started this process would start the same once more."""
    options = sys.argv[1:]
    own = sys.orig_argv[len(sys.orig_argv) - len(options) :] == options
    return bool(own and sys.executable and sys.argv[0] not in ("", "-") and not sys.gettrace())


def environment() -> dict[str, str]:
    """What a program's environment lacks for large pages."""
    return {_TUNABLES: _LARGE_PAGES} if _TUNABLES not in os.environ and _on_request() else {}


def _on_request() -> bool:
    """Whether the system gives large pages to who asks for them, and the C library can ask."""
    try:
        library, version = os.confstr("CS_GNU_LIBC_VERSION").split()
        knows = library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
        return knows and "[madvise]" in _SYSTEM.read_text()
    except (OSError, ValueError, AttributeError):  # another system
        return False
