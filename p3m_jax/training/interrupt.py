"""Being asked to stop: SIGTERM from a scheduler that takes the machine away, or Ctrl-C."""

import signal

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """A context in which the first SIGTERM or SIGINT only asks; a second Ctrl-C interrupts.

    Among several processes JAX's own service watches for SIGTERM, which may reach one of them
    alone, and tells all at which step to stop; there Ctrl-C interrupts at once.
    """

    def __init__(self):
        self._signal: str | None = None
        self._previous: dict = {}

    def at(self, step: int) -> str | None:
        """The name of the signal that asks to stop after this step; the same on all processes."""
        if jax.process_count() > 1:
            return "SIGTERM" if multihost_utils.reached_preemption_sync_point(step) else None
        return self._signal

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ():
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number, frame) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name
