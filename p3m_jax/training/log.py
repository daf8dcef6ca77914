"""The log of a run: one JSON line per logged step, and TensorBoard events."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.storage.json_lines import LineWriter, read_lines, write_lines

LOG_FILE = "log.jsonl"


class RunLog:
    """Writes the log of a run, and TensorBoard events; a resumed run appends to both.

    Every line of the log is a JSON object with `event` ("start", "step", "validation", "stop",
    "end" or "report"), `time` in seconds since 1970, and `synthetic`.

    Args:
      workdir: the run's folder.
      first: the step that the run starts or resumes from. Lines of later steps are removed from the
        log, because the run takes these steps again. Their TensorBoard events remain.
      synthetic: whether the weights were trained on synthetic portraits; written into every line.
    """

    def __init__(self, workdir: Path, first: int, *, synthetic: bool) -> None:
        # Imported here, so that reading a log needs no TensorFlow.
        from p3m_jax.input import host_tensorflow

        self._summary = host_tensorflow().summary
        _take_out_after(Path(workdir) / LOG_FILE, first)
        self._file = LineWriter(Path(workdir) / LOG_FILE)
        self._synthetic = synthetic
        self._events = self._summary.create_file_writer(str(Path(workdir) / "tensorboard"))

    def write(self, event: str, values: dict[str, Any]) -> None:
        """Writes a line to the log immediately, so that it is not lost if the run is killed."""
        line = {"event": event, "time": round(time.time(), 3), "synthetic": self._synthetic}
        self._file.append({**line, **values})

    def scalars(self, event: str, step: int, values: dict[str, float]) -> None:
        """Writes a line to the log, and each value as a TensorBoard scalar "event/name"."""
        self.write(event, {"step": step, **values})
        with self._events.as_default(step=step):
            for name, value in values.items():
                self._summary.scalar(f"{event}/{name}", value)
        self._events.flush()

    def picture(self, name: str, step: int, values: np.ndarray) -> None:
        """Writes an 8-bit picture (H, W, 3) to the TensorBoard events."""
        with self._events.as_default(step=step):
            self._summary.image(name, values[None])
        self._events.flush()

    def close(self) -> None:
        """Closes the log and TensorBoard's file."""
        self._file.close()
        self._events.close()


def _take_out_after(file: Path, first: int) -> None:
    """Removes incomplete lines and the lines of steps after `first` from a log."""
    if file.exists():
        write_lines(file, [line for line in read_lines(file) if line.get("step", 0) <= first])


class Silence:
    """Has the methods of `RunLog` but writes nothing; used by all processes except the first."""

    def write(self, event: str, values: dict[str, Any]) -> None:
        """Does nothing."""

    def scalars(self, event: str, step: int, values: dict[str, float]) -> None:
        """Does nothing."""

    def picture(self, name: str, step: int, values: np.ndarray) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_log(workdir: Path, event: str) -> list[dict[str, Any]]:
    """Returns the lines of a run's log with this `event`, sorted by their step number.

    Lines without a step number are left out. If a step has several lines with this `event`, only
    the last one is returned. Incomplete lines of a killed run are skipped. Returns [] if the log
    does not exist.
    """
    lines = {}
    for line in read_lines(Path(workdir) / LOG_FILE):
        if line.get("event") == event and "step" in line:
            lines[line["step"]] = line
    return [lines[step] for step in sorted(lines)]
