"""Compares programs in fresh processes that take turns; shared by several benchmarks.

A side is a process that runs one program. It loads what it needs and reports its memory. Then it
does its work once whenever it is asked to, and reports the time that it took. All sides that are
compared are loaded and take turns, so that a machine whose speed drifts does not favour one. The
result is the median over the rounds, with the fastest and the slowest of them.

This module holds both ends, the one that asks and the one that works. The working end also runs
under an interpreter that does not have this project, so this module imports nothing but NumPy.
"""

import contextlib
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# PyTorch's threads wait for each other in a busy loop. On a busy machine this takes several times
# as long as their work, so this setting makes PyTorch faster.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}


class Clock:
    """Adds up the wall and CPU seconds of the blocks that it is the context of."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self._started[0]
        self.cpu += time.process_time() - self._started[1]


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    # `getrusage` would also count the memory of the process that started this one.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def serve(load, task: dict) -> None:
    """The working end: loads, reports the process's memory, then works once per line on stdin.

    `load(task, clock)` returns a function without arguments that works once and returns an array,
    which is saved to the file `task["result"]`. The function may let the clock run for a part of
    its work. Answers are lines of JSON: seconds, CPU seconds, both for that part, and peak memory
    in bytes.
    """
    channel, sys.stdout = sys.stdout, sys.stderr  # keeps other output apart from the answers

    def answer(**values):
        print(json.dumps({**values, "peak": peak_memory()}), file=channel, flush=True)

    part = Clock()
    work = load(task, part)
    answer()
    for _ in sys.stdin:
        result, taken = once(work, part)
        np.save(task["result"], result)
        answer(**taken)


def once(work, part: Clock) -> tuple[np.ndarray, dict[str, float]]:
    """Works once; returns the result, and the seconds of all of it and of its part."""
    part.wall = part.cpu = 0.0
    with Clock() as whole:
        result = work()
    shares = {"part_seconds": part.wall, "part_cpu": part.cpu} if part.wall else {}
    return result, {"seconds": whole.wall, "cpu": whole.cpu, **shares}


def part_of_program(**parts) -> bool:
    """Runs the part that the command line names (see `command`); returns False if it names none."""
    if len(sys.argv) != 3 or sys.argv[1] not in parts:
        return False
    with contextlib.suppress(KeyboardInterrupt):
        parts[sys.argv[1]](json.loads(sys.argv[2]))
    return True


def served(load):
    """The part "serve" of a program, which calls `serve` with `load`."""
    return functools.partial(serve, load)


def command(program, part: str, task: dict, python: str | None = None) -> list[str]:
    """The command line of a part of `program`, run by `python` or by this interpreter."""
    return [python or sys.executable, str(program), part, json.dumps(task)]


class Side:
    """What takes turns: a name, the memory before the first run, and the measurements."""

    def __init__(self, name: str, base: int):
        self.name = name
        self.base = base
        self.runs: list[dict] = []
        self._counted: list[dict] = []

    def row(self) -> dict:
        """The measurements of the counted runs: medians, fastest and slowest."""
        row = {"side": self.name, "base": self.base, "peak": self.runs[-1]["peak"]}
        return row | summary(self._counted) | {"runs": self.runs}

    def _note(self, taken: dict, counted: bool) -> None:
        self.runs.append(taken)
        self._counted += [taken] if counted else []


class Here(Side):
    """A side that works in this process, as --quick has it: no process has to start for it."""

    def __init__(self, name: str, load, task: dict):
        self._part = Clock()
        self._work = load(task, self._part)
        super().__init__(name, peak_memory())

    def run(self, *, counted: bool = True) -> np.ndarray:
        """Works once and returns the result; the measurements are added to `runs`."""
        result, taken = once(self._work, self._part)
        self._note({**taken, "peak": peak_memory()}, counted)
        return np.asarray(result)

    def close(self) -> None:
        """Forgets what it works with."""
        del self._work


class Process(Side):
    """The asking end: a process of `program` that works when it is asked to.

    The name of a side decides how it runs: `ours...` requests large pages as our programs do, and
    `best` sets `task["best"]`.
    """

    def __init__(self, name: str, program, task: dict, python: str | None = None):
        from p3m_jax.runtime.large_pages import environment

        more = environment() if name.startswith("ours") else {}
        self.file = f"{task['result']}.{name}.npy"
        self.process = subprocess.Popen(
            command(
                program,
                "serve",
                {**task, "best": name == "best", "result": self.file},
                python,
            ),
            env={**PASSIVE, **os.environ, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        super().__init__(name, self._answer(name)["peak"])

    def run(self, *, counted: bool = True) -> np.ndarray:
        """Works once and returns the result; the measurements are added to `runs`."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._note(self._answer(self.name), counted)
        return np.load(self.file)

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self, name: str) -> dict:
        line = self.process.stdout.readline()
        if not line:
            program = " ".join(self.process.args[:3])
            sys.exit(f"{name} ({program}): ended with exit code {self.process.wait()}.")
        return json.loads(line)


def take_turns(
    sides: list[Side], *, runs: int, pause: float, in_a_row: int = 1
) -> tuple[dict, dict]:
    """Asks all sides in turn, for a warm-up round and `runs` more, then ends them.

    A turn has `in_a_row` runs. If it has several, the first is not counted, because the process
    finds caches and memory as another process left them. Returns the results of the first and of
    the last run, by the names of the sides.
    """
    first, last = {}, {}
    for number in range(runs + 1):
        for side in sides:
            time.sleep(pause)
            for again in range(in_a_row):
                counted = number > 0 and (again > 0 or in_a_row == 1)
                last[side.name] = side.run(counted=counted)
                first.setdefault(side.name, last[side.name])
    for side in sides:
        side.close()
    return first, last


def summary(runs: list[dict]) -> dict:
    """For every time of the runs: its median, KEY_fastest and KEY_slowest."""
    found = {}
    for key in [key for key, value in runs[0].items() if isinstance(value, float)]:
        values = sorted(run[key] for run in runs)
        found[key] = statistics.median(values)
        found |= {f"{key}_fastest": values[0], f"{key}_slowest": values[-1]}
    return found


def spread(row: dict, key: str = "seconds") -> str:
    """Formats a median with its (fastest..slowest)."""
    return f"{row[key]:.2f} ({row[f'{key}_fastest']:.2f}..{row[f'{key}_slowest']:.2f})"


def ratios(row: dict, rows: list[dict]) -> list[str]:
    """The cells of how many times as long ours takes as this side, in wall and CPU seconds."""
    ours = next((other for other in rows if other["side"] == "ours"), None)
    return [f"{ours[key] / row[key]:.2f}" if ours else "" for key in ("seconds", "cpu")]


def add_turns(parser, *, runs: int) -> None:
    """Declares the options for taking turns."""
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads of PyTorch (all cores)"
    )
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to wait before a run")
