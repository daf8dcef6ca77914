"""Stops a run after a signal: Ctrl-C, or SIGTERM from a scheduler that needs the machine."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """A context manager in which SIGTERM and Ctrl-C only request a stop after the current step.

    After each step, the run calls `at` to learn whether a stop was requested. A second Ctrl-C
    interrupts the run at once.

    If a run has several processes, only SIGTERM requests a stop, and the first Ctrl-C interrupts at
    once. Even if SIGTERM reaches only one process, `at` tells all of them to stop after the same
    step.
    """

    def __init__(self) -> None:
        self._signal: str | None = None
        self._previous: dict = {}

    def at(self, step: int) -> str | None:
        """Returns the name of the signal if the run must stop after `step`, otherwise None.

        All processes get the same result.
        """
        if jax.process_count() > 1:
            return "SIGTERM" if multihost_utils.reached_preemption_sync_point(step) else None
        return self._signal

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ():
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name
