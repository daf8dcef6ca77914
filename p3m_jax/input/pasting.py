"""The interface of `training_batches` to an object that pastes faces into its samples.

P3M-CP implements it (`p3m_jax.copy_paste.samples`); the input pipeline knows only this interface.
"""

from typing import NamedTuple, Protocol

from p3m_jax.input import Tensor


class Sample(NamedTuple):
    """Identifies a sample; int64 scalars of TensorFlow.

    Attributes:
      number: its global index, over all steps.
      step: its step, from 0.
      place: its place in the batch of all processes.
      example: the index of its example in the data set.
    """

    number: Tensor
    step: Tensor
    place: Tensor
    example: Tensor


class Pasting(Protocol):
    """Pastes faces into samples.

    Like everything in a batch, the result depends only on (seed, step).
    """

    @property
    def shares(self) -> bool:
        """Whether the samples of a step share entries, see `shared`."""
        ...

    def wants(self, sample: Sample) -> Tensor:
        """Whether the sample may get a face, bool (); only then is its target computed."""
        ...

    def paste(self, contents: dict, sample: Sample) -> dict:
        """Pastes a face into the contents of a sample; returns them without "target".

        See `p3m_jax.input.pipeline.load_sample`.
        """
        ...

    def shared(self, step: Tensor) -> dict:
        """Returns entries that all samples of a step share; they are added to its batch."""
        ...

    def diagnose(self, step: int, place: int) -> None:
        """Raises a readable error if the face for a sample made TensorFlow fail."""
        ...
