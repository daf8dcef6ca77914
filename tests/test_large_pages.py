"""Programs that ask for large pages, as real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p3m_jax.runtime.large_pages import restart_with_large_pages

# What is left after the second start, and how much of an array lies in large pages.
PROGRAM = f"""
import os, re, sys
from p3m_jax.runtime.large_pages import {restart_with_large_pages.__name__}
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


def run(*command, text=None, **tunables):
    """The lines that a program prints in an environment with these tunables or none."""
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        command,
        input=text,
        env=environment | tunables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


COMMAND = (sys.executable, "-B", "-c", PROGRAM, "a b", "--c=*")
asked_for = pytest.mark.skipif(
    not on_request(), reason="the system gives large pages to all or to nobody"
)
told_by_the_system = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="another system"
)


@asked_for
def test_it_can_be_turned_off_and_tells():
    name = restart_with_large_pages.__name__
    program = (
        f"from p3m_jax.runtime.large_pages import {name}, describe\n{name}()\nprint(describe())"
    )
    command = (sys.executable, "-c", program)
    assert run(*command, P3M_LARGE_PAGES="off") == ["not requested: P3M_LARGE_PAGES=off"]
    assert "by starting again" in run(*command)[0]
    assert run(*command, GLIBC_TUNABLES="a=1") == ["left to GLIBC_TUNABLES=a=1"]


@asked_for
def test_a_program_starts_once_more_with_its_arguments_and_gets_large_pages():
    first, second, told = run(*COMMAND)
    assert first == second  # in the same process
    arguments, large = told.rsplit(" ", 1)
    assert arguments == "['a b', '--c=*'] 1 glibc.malloc.hugetlb=1"
    assert int(large) > 50_000


@asked_for
@pytest.mark.parametrize(
    "before",
    [
        "",  # its text has been read from the pipe
        "sys.argv = ['program', 'other']",
        "sys.argv[0] = 'program'; sys.settrace(lambda *_: None)",
    ],
)
def test_a_program_that_another_one_runs_is_left_alone(before):
    name = restart_with_large_pages.__name__
    imports = f"import sys\nfrom p3m_jax.runtime.large_pages import {name}"
    text = f"{imports}\n{before}\n{name}()\nprint('here')"
    assert run(sys.executable, "-", text=text) == ["here"]


@told_by_the_system
def test_a_program_whose_environment_is_cleaned_starts_once_more_only_once(tmp_path):
    cleaning = tmp_path / "python"
    cleaning.write_text(f'#!/bin/sh\nunset GLIBC_TUNABLES\nexec {sys.executable} "$@"\n')
    cleaning.chmod(0o755)
    program = f"import sys\nsys.executable = {str(cleaning)!r}\n{PROGRAM}"
    program = program.replace('os.environ["GLIBC_TUNABLES"]', '"GLIBC_TUNABLES" in os.environ')
    lines = run(cleaning, "-c", program)
    assert len(lines) == (3 if on_request() else 2)
    assert " False " in lines[-1]


@told_by_the_system
def test_what_the_user_has_set_counts():
    own = "glibc.malloc.hugetlb=0"
    _, told = run(*COMMAND, GLIBC_TUNABLES=own)
    assert told.startswith(f"['a b', '--c=*'] 1 {own} ")
