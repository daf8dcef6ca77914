"""Programs that ask for large pages, as real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p3m_jax.large_pages import restart_with_large_pages

# What is left after the second start, and how much of an array lies in large pages.
PROGRAM = f"""
import os, re, sys
from p3m_jax.large_pages import {restart_with_large_pages.__name__}
print("start", os.getpid(), flush=True)
{restart_with_large_pages.__name__}()
array = bytearray(b"1") * 64_000_000
with open("/proc/self/smaps_rollup") as file:
    large = int(re.search(r"AnonHugePages: *(\\d+) kB", file.read()).group(1))
print(sys.argv[1:], sys.flags.dont_write_bytecode, os.environ["GLIBC_TUNABLES"], large)
"""


def on_request():
    try:
        system = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        library, version = os.confstr("CS_GNU_LIBC_VERSION").split()
    except (OSError, ValueError, AttributeError):
        return False
    return "[madvise]" in system and library == "glibc" and float(version) >= 2.35


def run(tunables=None):
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    if tunables:
        environment["GLIBC_TUNABLES"] = tunables
    command = [sys.executable, "-B", "-c", PROGRAM, "a b", "--c=*"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(not on_request(), reason="the system gives large pages to all or to nobody")
def test_a_program_starts_once_more_with_its_arguments_and_gets_large_pages():
    first, second, told = run()
    assert first == second  # in the same process
    arguments, large = told.rsplit(" ", 1)
    assert arguments == "['a b', '--c=*'] 1 glibc.malloc.hugetlb=1"
    assert int(large) > 50_000


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="another system")
def test_what_the_user_has_set_counts():
    own = "glibc.malloc.hugetlb=0"
    _, told = run(own)
    assert told.startswith(f"['a b', '--c=*'] 1 {own} ")
