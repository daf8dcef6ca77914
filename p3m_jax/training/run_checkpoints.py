"""Saves the checkpoints of a run, and reads them to resume the run exactly.

A checkpoint is saved completely or not at all.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from p3m_jax.checkpoints.arrays import (
    CheckpointError,
    DamagedCheckpoint,
    quiet_orbax,
    read_arrays,
    reason_of,
    require_room,
    with_checksums,
)
from p3m_jax.checkpoints.folder import (
    TRAINING_FORMAT,
    complete_steps,
    read_description,
    read_metadata,
)
from p3m_jax.storage.bucket import is_address
from p3m_jax.text import warn
from p3m_jax.training.state import TrainState

_policies = ocp.training.preservation_policies


class Saved(NamedTuple):
    """The contents of a run's checkpoint.

    Attributes:
      state: the training state, as NumPy arrays.
      description: see `p3m_jax.checkpoints.weights.describe`.
    """

    state: TrainState
    description: dict[str, Any]

    def placed(self, shardings: TrainState) -> TrainState:
        """Copies the state to the devices; `shardings` holds the sharding of each array."""
        return jax.tree.map(
            lambda array, sharding: jax.make_array_from_callback(
                array.shape, sharding, lambda index: array[index]
            ),
            self.state,
            shardings,
        )


def newest_whole(folder: Path, like: TrainState) -> Saved | None:
    """Reads a run's newest undamaged checkpoint; returns None if the run has no checkpoints.

    Damaged checkpoints are renamed, and a warning is printed for each. If all checkpoints are
    damaged, an error is raised instead, and none is renamed. If there are several processes, the
    first one must return from this function before the others call it.

    Args:
      folder: the run's folder of checkpoints.
      like: a state with the expected shapes and dtypes.

    Raises:
      CheckpointError: all checkpoints are damaged, or a checkpoint cannot be read or renamed.
    """
    folder = _absolute(folder)
    steps = sorted(_numbered(folder), key=lambda step: -int(step.name))
    damaged: dict[Path, DamagedCheckpoint] = {}
    newest, saved = None, None
    for step in steps:
        try:
            if saved is None:
                saved = _read(step, like)
                newest = step
            else:
                read_description(step)  # choosing the best step needs every description
        except DamagedCheckpoint as error:
            damaged[step] = error
    if newest is None:
        if not damaged:
            return None
        older = "all older ones are damaged, too" if len(steps) > 1 else "there is no older one"
        raise CheckpointError(
            f"{steps[0]}: {damaged[steps[0]].what}, and {older}. Restore a copy, or move {folder} "
            "away and run the same command again to start over."
        )
    for step, damage in damaged.items():
        aside = _set_aside(step)
        warn(
            f"{step}: {damage.what}. It is kept as {aside.name}, and the run resumes from step "
            f"{newest.name}."
        )
    return saved


def _absolute(folder: Path) -> Path:
    return folder if is_address(folder) else folder.absolute()


def _numbered(folder: Path) -> list[Path]:
    """Lists the folders of saved steps, which should be complete."""
    if is_address(folder):  # in a bucket an interrupted save already has its final name
        return complete_steps(folder)
    return [path for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]


def _read(step: Path, like: TrainState) -> Saved:
    description, checksums = read_metadata(step)
    arrays = read_arrays(step, _arrays(like), checksums)
    return Saved(TrainState(**arrays), description)


def _set_aside(step: Path) -> Path:
    """Renames a step so that no run reads it; returns the new path."""
    number = 1
    while (aside := step.parent / f"{step.name}.damaged{number}").exists():
        number += 1
    try:
        step.rename(aside)
    except OSError as error:
        raise CheckpointError(
            f"{step}: the checkpoint is damaged and cannot be renamed ({error.strerror}); move it "
            "away."
        ) from error
    return aside


class RunCheckpoints:
    """Saves the checkpoints of a run, one per saved step, and deletes old ones.

    It keeps the latest `keep` checkpoints, and the checkpoint with the lowest validation SAD.

    Orbax saves in the background. It writes a checkpoint under a temporary name and renames it when
    it is complete, so an interrupted save leaves nothing that looks like a checkpoint. Files in a
    bucket cannot be renamed. There, a checkpoint is complete if it contains the file that Orbax
    writes last.

    Args:
      folder: the folder of the checkpoints, local or in a bucket; created if it does not exist.
      description: stored in every checkpoint, see `p3m_jax.checkpoints.weights.describe`.
      keep: how many of the latest checkpoints to keep.
    """

    def __init__(self, folder: Path, description: dict[str, Any], *, keep: int) -> None:
        self._folder = _absolute(folder)
        self._description = {"format": TRAINING_FORMAT, **description}
        best = _policies.BestN(
            get_metric_fn=lambda validation: validation["SAD"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._saved: int | None = None
        self._failed = False
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(quiet_orbax())
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint; None if there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, state: TrainState, validation: dict[str, float] | None = None) -> None:
        """Starts saving `state` in the background; does nothing if its step is already saved.

        `validation` holds the mean errors on the validation split, or is None if this step was not
        validated.

        Raises:
          NotFinite: the state contains infinite or NaN values.
          CheckpointError: this checkpoint cannot be written, or the previous one could not be.
        """
        step = int(state.step)
        # After the first save, the folder's contents are ignored: all processes must save a step or
        # none, but another process may already have written this step.
        if step == self._saved or (self._saved is None and step == self.latest_step):
            return
        arrays = _arrays(state)
        description = {
            **self._description,
            "provenance": {**self._description["provenance"], "step": step},
            "validation": validation,
        }
        description = with_checksums(description, arrays)
        with self._failing_in_one_sentence():
            self._checkpointer.wait()
        self._saved = step
        with self._failing_in_one_sentence():
            if not is_address(self._folder):
                require_room(self._folder, arrays)
            self._checkpointer.save_async(
                step,
                arrays,
                force=True,  # the training loop decides when to save
                metrics=validation,
                custom_metadata=description,
            )

    def close(self) -> None:
        """Waits until the last checkpoint is written, and releases the folder.

        Raises:
          CheckpointError: the last checkpoint could not be written.
        """
        if self._failed:  # already reported, so further errors of Orbax are suppressed
            with contextlib.suppress(Exception):
                self._checkpointer.close()
            return
        with self._failing_in_one_sentence():
            self._checkpointer.close()
        self._stack.close()

    @contextlib.contextmanager
    def _failing_in_one_sentence(self) -> Iterator[None]:
        """Turns any error into a `CheckpointError`; removes the failed step's partial files."""
        try:
            yield
        except Exception as error:  # TensorStore's errors have no class of their own
            self._failed = True
            if not is_address(self._folder):
                self._remove_partial()
            steps = [int(step.name) for step in complete_steps(self._folder)]
            after = f"resume from step {max(steps)}" if steps else "start over"
            raise CheckpointError(
                f"{self._folder / str(self._saved)}: cannot be saved ({reason_of(error)}); free "
                f"some disk space, then run the same command again to {after}."
            ) from error

    def _remove_partial(self) -> None:
        """Removes the partial files of the step that could not be saved."""
        pattern = f"{self._saved}.orbax-checkpoint-tmp*"
        for _ in range(50):  # Orbax's threads may still write other arrays for a moment
            for partial in self._folder.glob(pattern):
                shutil.rmtree(partial, ignore_errors=True)
            if not list(self._folder.glob(pattern)):
                break
            time.sleep(0.1)


def _arrays(state: TrainState) -> dict[str, Any]:
    # A missing average is left out, as in older checkpoints.
    return {name: part for name, part in state._asdict().items() if part is not None}
