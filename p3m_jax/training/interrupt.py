"""Being asked to stop: SIGTERM from a scheduler, or Ctrl-C."""

import signal


class StopRequest:
    """A context in which the first SIGTERM or SIGINT only asks; a second Ctrl-C interrupts.

    Attributes:
      signal: the name of the signal that came, or None.
    """

    def __init__(self):
        self.signal: str | None = None

    def __enter__(self) -> "StopRequest":
        self._previous = {
            number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number, frame) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
