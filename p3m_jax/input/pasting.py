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
      place: its index in the step's batch (of all processes), from 0.
      example: the index of its example in the data set.
    """

    number: Tensor
    step: Tensor
    place: Tensor
    example: Tensor


class Pasting(Protocol):
    """Pastes faces into the samples of `training_batches`.

    The batch must remain a pure function of (seed, step).
    """

    @property
    def shares(self) -> bool:
        """Whether `shared` adds entries to the batches."""
        ...

    def wants(self, sample: Sample) -> Tensor:
        """Whether a face may be pasted into the sample, bool ().

        If not, `load_sample` does not look for the target's face, which saves time.
        """
        ...

    def paste(self, contents: dict, sample: Sample) -> dict:
        """Pastes a face into a sample, and removes its entries "target" and "target_box".

        `contents` is the result of `p3m_jax.input.pipeline.load_sample`. Returns the changed dict.
        """
        ...

    def shared(self, step: Tensor) -> dict:
        """Returns the entries that are added to a step's batch once, for all its samples."""
        ...

    def diagnose(self, step: int, place: int) -> None:
        """Raises a readable error if the face for a sample made TensorFlow fail.

        `place` is the sample's index in the step's batch.
        """
        ...
