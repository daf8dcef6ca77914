"""A run's own checkpoints: everything that going on exactly takes, saved whole or not at all."""

from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from p3m_jax.bucket import is_address
from p3m_jax.checkpoint import TRAINING_FORMAT
from p3m_jax.training.state import TrainState

_policies = ocp.training.preservation_policies


class RunCheckpoints:
    """The checkpoints of a run, one per saved step.

    Orbax writes a step beside its final name and renames it when it is complete, in the
    background; a killed save leaves nothing that looks like a checkpoint. (In a bucket a last file
    says that it is complete.) Kept are the latest `keep` and the best by validation.

    Args:
      folder: theirs, local or in a bucket; made if need be.
      description: goes into every checkpoint, see `p3m_jax.checkpoint.describe`.
      keep: how many of the latest stay.
    """

    def __init__(self, folder: Path, description: dict[str, Any], *, keep: int):
        self._description = {"format": TRAINING_FORMAT, **description}
        best = _policies.BestN(
            get_metric_fn=lambda validation: validation["SAD"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._saved: int | None = None
        self._checkpointer = ocp.training.Checkpointer(
            folder if is_address(folder) else folder.absolute(),
            preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint; None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, state: TrainState, validation: dict[str, float] | None = None) -> None:
        """Saves `state` under its step in the background; a step already saved stays as it is.

        `validation` holds the mean errors on the validation split, if it was scored at this step.
        """
        step = int(state.step)
        # Not only what is there: of several processes all must save, or none.
        if step == self._saved or (self._saved is None and step == self.latest_step):
            return
        self._saved = step
        self._checkpointer.save_async(
            step,
            _arrays(state),
            force=True,  # when to save is the loop's decision
            metrics=validation,
            custom_metadata={
                **self._description,
                "provenance": {**self._description["provenance"], "step": step},
                "validation": validation,
            },
        )

    def restore(self, like: TrainState) -> TrainState:
        """The latest state, with the structure, types and sharding of `like`."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), _arrays(like)
        )
        return TrainState(**self._checkpointer.load(abstract_state=abstract))

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._checkpointer.close()


def _arrays(state: TrainState) -> dict[str, Any]:
    # Without what the run does not keep: such checkpoints are as they always were.
    return {name: part for name, part in state._asdict().items() if part is not None}
