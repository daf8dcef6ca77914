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
      example: the index, in the data set, of the picture that the sample is cut from.
    """

    number: Tensor
    step: Tensor
    place: Tensor
    example: Tensor


class Pasting(Protocol):
    """Pastes faces into the samples of `training_batches`.

    Implementations must draw nothing that does not follow from (seed, step), so that a resumed run
    gets the same batches.
    """

    @property
    def shares(self) -> bool:
        """Whether the method `shared` returns anything, which is then added to every batch."""
        ...

    def wants(self, sample: Sample) -> Tensor:
        """Whether a face may be pasted into the sample, bool ().

        If not, `load_sample` saves time: it does not look for a face in the sample to paste over.
        """
        ...

    def paste(self, contents: dict, sample: Sample) -> dict:
        """Pastes a face into a sample, and returns the sample's new entries.

        `contents` are the old entries, a result of `p3m_jax.input.pipeline.load_sample`. The
        entries "target" and "target_box" are removed. `sample` identifies the sample.
        """
        ...

    def shared(self, step: Tensor) -> dict:
        """Returns the entries that all samples of a step share, for the step's batch."""
        ...

    def diagnose(self, step: int, place: int) -> None:
        """Raises a readable error if the face to paste into a sample cannot be read or used.

        The pipeline calls this after TensorFlow failed at `step`. `place` is the sample's index in
        the batch.
        """
        ...
