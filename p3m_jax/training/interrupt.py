"""Stops a run after a signal: Ctrl-C, or SIGTERM from a scheduler that needs the machine."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """A context in which SIGTERM and Ctrl-C stop the run after the current step, not at once.

    A second Ctrl-C interrupts at once.

    If a run has several processes, only SIGTERM is handled this way; Ctrl-C interrupts at once. If
    SIGTERM reaches only one process, JAX still makes all of them stop after the same step.
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
