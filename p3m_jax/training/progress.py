"""The progress bar of a run."""

import time

from tqdm import tqdm


class Progress:
    """A progress bar with the step, the loss, pictures per second and the remaining time."""

    def __init__(self, first: int, steps: int, batch_size: int) -> None:
        self._bar = tqdm(total=steps, initial=first, unit="step", desc="Training")
        self._batch_size = batch_size
        self._times: list[float] = []

    def update(self, loss: float) -> None:
        """Counts a step and shows its loss."""
        self._times = [*self._times[-20:], time.perf_counter()]
        self._bar.set_postfix_str(f"loss {loss:.4f}, {self.rate():.1f} pictures/s", refresh=False)
        self._bar.update()

    def rate(self) -> float:
        """Returns the pictures per second over the last 20 steps; 0 before the second step."""
        if len(self._times) < 2:
            return 0.0
        taken = self._times[-1] - self._times[0]
        return (len(self._times) - 1) * self._batch_size / taken

    def pause(self) -> None:
        """Restarts the measurement of the rate.

        Called after a checkpoint is saved, so that the time for saving does not count.
        """
        self._times = []

    def close(self) -> None:
        """Closes the bar at its current step."""
        self._bar.close()
