"""What `training_batches` asks of an object that pastes faces into its samples.

P3M-CP is one (`p3m_jax.copy_paste.samples`); the input pipeline knows only this interface.
"""

from typing import Any, NamedTuple, Protocol


class Sample(NamedTuple):
    """Which sample it is; int64 scalars of TensorFlow.

    Attributes:
      number: its global index, over all steps.
      step: counts from 0.
      place: in the batch of all processes.
      example: of the data set.
    """

    number: Any
    step: Any
    place: Any
    example: Any


class Pasting(Protocol):
    """Pastes faces into samples; the result follows from (seed, step), as everything in a batch."""

    @property
    def shares(self) -> bool:
        """Whether the samples of a step share entries, see `shared`."""
        ...

    def wants(self, sample: Sample) -> Any:
        """Whether the sample may get a face, bool (): then its target is looked for."""
        ...

    def paste(self, contents: dict, sample: Sample) -> dict:
        """The contents of a sample (see `load_sample`) without its target, pasted into."""
        ...

    def shared(self, step) -> dict:
        """Entries that all samples of a step share; they are added to its batch."""
        ...

    def diagnose(self, step: int, place: int) -> None:
        """Raises a readable error for what is wrong with a face that TensorFlow stumbled over."""
        ...
