"""The progress bar of a run."""

import time

from tqdm import tqdm


class Progress:
    """A bar over the steps, with the loss, pictures per second and the time left."""

    def __init__(self, first: int, steps: int, batch_size: int):
        self._bar = tqdm(total=steps, initial=first, unit="step", desc="Training")
        self._batch_size = batch_size
        self._times: list[float] = []

    def update(self, loss: float) -> None:
        """Counts a step."""
        self._times = [*self._times[-20:], time.perf_counter()]
        self._bar.set_postfix_str(f"loss {loss:.4f}, {self.rate():.1f} pictures/s", refresh=False)
        self._bar.update()

    def rate(self) -> float:
        """Pictures per second over the last steps; 0 before there are two."""
        if len(self._times) < 2:
            return 0.0
        taken = self._times[-1] - self._times[0]
        return (len(self._times) - 1) * self._batch_size / taken

    def pause(self) -> None:
        """Leaves out of the rate what has happened since the last step, such as saving."""
        self._times = []

    def close(self) -> None:
        """Ends the bar where it is."""
        self._bar.close()
