"""Folders of checkpoints: which one a path means, and what its description says.

A checkpoint is a folder written by Orbax. Its description (JSON) is in the metadata, with checksums
of itself and of every array, see `p3m_jax.checkpoints.arrays`.
"""

import os
import stat
from pathlib import Path
from typing import Any

from orbax.checkpoint import v1 as ocp

from p3m_jax.checkpoints.arrays import (
    CheckpointError,
    DamagedCheckpoint,
    quiet_orbax,
    reason_of,
    unsealed,
)
from p3m_jax.data.folders import user_path
from p3m_jax.models.network import NETWORKS
from p3m_jax.storage.bucket import folder_or_bucket, is_address

INFERENCE_FORMAT = "p3m-jax inference"
TRAINING_FORMAT = "p3m-jax training"

# Where a run keeps what; `p3m_jax.training` writes them.
RUN_INFERENCE = "inference"
RUN_CHECKPOINTS = "checkpoints"

_MOST_FILES = 10_000  # a checkpoint has some tens
_LARGEST_DESCRIPTION = 1 << 26  # bytes; real ones are below 1 MB


def find_checkpoint(path) -> Path:
    """The checkpoint folder that `path` means: itself, or the one to take of a run's folder.

    Raises:
      UserError: there is none.
    """
    path = folder_or_bucket(path) if is_address(path) else user_path(path).absolute()
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint.")
    if path.is_file():
        raise CheckpointError(
            f"{path}: is a file; checkpoints of this program are folders, such as a run's: of a "
            ".pth or .safetensors file `p3m import` makes one."
        )
    if not path.is_dir():
        raise CheckpointError(f"{path}: is a pipe or a device; name the folder of a checkpoint.")
    if is_checkpoint(path):
        return path
    steps = complete_steps(path / RUN_CHECKPOINTS) or complete_steps(path)
    best = min(steps, key=_rank) if steps else None
    exported = path / RUN_INFERENCE
    # A run that went on after its export may have found better weights since.
    if is_checkpoint(exported) and (best is None or _step(exported) == _step(best)):
        return exported
    if best is not None:
        return best
    raise CheckpointError(
        f"{path}: holds no checkpoint; name the folder of a run or of an exported checkpoint."
    )


def complete_steps(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, given its folder of checkpoints, in no order."""
    return [p for p in folder.glob("*") if p.name.isdigit() and is_checkpoint(p)]


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is the folder of a checkpoint that was written to its end."""
    # What Orbax writes last; its own test takes any folder for a checkpoint. In a bucket, where
    # nothing can be renamed, another file tells that all is there.
    last = "commit_success.txt" if is_address(path) else "_CHECKPOINT_METADATA"
    return (path / last).is_file()


def read_description(path: Path) -> dict[str, Any]:
    """The description of a checkpoint folder, see `read_metadata`."""
    return read_metadata(path)[0]


def read_metadata(path: Path) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The description of a checkpoint folder, and the checksums of its arrays by their names.

    The checksums are None where it was written without, as the program once did.

    Raises:
      CheckpointError: it holds a network that is not known.
      DamagedCheckpoint: it is not one of ours, cannot be read, or has another checksum.
    """
    _require_regular_files(path)
    try:
        with quiet_orbax():
            metadata = ocp.metadata(path).custom_metadata or {}
    except (AssertionError, RuntimeError):  # of JAX, which may have no device
        raise
    except Exception as error:  # what a parser makes of damage is of any class
        reason = reason_of(error)
        raise DamagedCheckpoint(path, f"its description cannot be read ({reason})") from error
    if metadata.get("format") not in (INFERENCE_FORMAT, TRAINING_FORMAT):
        raise DamagedCheckpoint(path, "is not one of this program, or its description is damaged")
    try:
        description, checksums = unsealed(metadata)
    except ValueError as error:
        raise DamagedCheckpoint(path, str(error)) from error
    if not {"network", "synthetic", "provenance"} <= description.keys():
        raise DamagedCheckpoint(path, "its description is incomplete")
    if description["network"] not in NETWORKS:
        raise CheckpointError(
            f"{path}: holds the network {description['network']!r}, which this version lacks."
        )
    return description, checksums


def _require_regular_files(path: Path) -> None:
    """Refuses what would block or never end when read; a bucket holds nothing of the kind."""
    if is_address(path):
        return
    count = 0
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            file, count = Path(folder) / name, count + 1
            try:
                status = file.stat()
            except OSError as error:
                raise DamagedCheckpoint(file, f"cannot be read ({error.strerror})") from error
            if not stat.S_ISREG(status.st_mode):
                raise DamagedCheckpoint(file, "is no regular file")
            if "METADATA" in name and status.st_size > _LARGEST_DESCRIPTION:
                raise DamagedCheckpoint(file, "is too large for a description")
        if count > _MOST_FILES:
            raise DamagedCheckpoint(path, "holds too many files for a checkpoint")


def _step(path: Path) -> int | None:
    return read_description(path)["provenance"].get("step")


def _rank(step: Path):
    """Sorts the best by validation first, then the latest."""
    error = (read_description(step).get("validation") or {}).get("SAD", float("inf"))
    return error, -int(step.name)
