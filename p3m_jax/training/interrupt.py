"""Stops a run after a signal: Ctrl-C, or SIGTERM from a scheduler that needs the machine."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """A context in which the first SIGTERM or Ctrl-C only requests a stop after the current step.

    A second Ctrl-C interrupts at once. With several processes, even the first Ctrl-C does. SIGTERM
    may then reach only one process, so JAX's own service watches for it and tells all processes at
    which step to stop.
    """

    def __init__(self) -> None:
        self._signal: str | None = None
        self._previous: dict = {}

    def at(self, step: int) -> str | None:
        """Returns the name of the signal that requests a stop after `step`, or None.

        It is the same on all processes.
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
