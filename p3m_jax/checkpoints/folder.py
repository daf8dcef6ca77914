"""Finds the checkpoint for a path given by the user, and reads its description.

A checkpoint is a folder written by Orbax. Its metadata holds the description (JSON). The
description includes a checksum of itself and of every array, see `p3m_jax.checkpoints.arrays`.
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
from p3m_jax.models.network import NETWORKS
from p3m_jax.storage import StrPath
from p3m_jax.storage.bucket import folder_or_bucket, is_address
from p3m_jax.storage.paths import user_path

INFERENCE_FORMAT = "p3m-jax inference"
TRAINING_FORMAT = "p3m-jax training"

# Subfolders of a run's folder; `p3m_jax.training` writes them.
RUN_INFERENCE = "inference"
RUN_CHECKPOINTS = "checkpoints"

_MOST_FILES = 10_000  # a checkpoint has a few dozen
_LARGEST_DESCRIPTION = 1 << 26  # bytes; real ones are below 1 MB


def find_checkpoint(path: StrPath) -> Path:
    """Returns the folder of the checkpoint to use for `path`.

    If `path` is a checkpoint, it is returned. If it is the folder of a run, the run's best
    checkpoint is returned: the one with the lowest validation error, or the latest if none was
    validated. If the run has exported weights from the same step, they are returned instead.

    Raises:
      UserError: there is no checkpoint.
    """
    path = folder_or_bucket(path) if is_address(path) else user_path(path).absolute()
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint.")
    if path.is_file():
        raise CheckpointError(
            f"{path}: is a file, but checkpoints of this program are folders, such as a run's; "
            "`p3m import` makes one from a .pth or .safetensors file."
        )
    if not path.is_dir():
        raise CheckpointError(f"{path}: is a pipe or a device; choose the folder of a checkpoint.")
    if is_checkpoint(path):
        return path
    steps = complete_steps(path / RUN_CHECKPOINTS) or complete_steps(path)
    best = min(steps, key=_rank) if steps else None
    exported = path / RUN_INFERENCE
    # If the run was continued after its export, it may have found better weights since.
    if is_checkpoint(exported) and (best is None or _step(exported) == _step(best)):
        return exported
    if best is not None:
        return best
    raise CheckpointError(
        f"{path}: holds no checkpoint; choose the folder of a run or of an exported checkpoint."
    )


def complete_steps(folder: Path) -> list[Path]:
    """Lists the complete checkpoints in a run's folder of checkpoints, in no particular order."""
    return [p for p in folder.glob("*") if p.name.isdigit() and is_checkpoint(p)]


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is the folder of a completely written checkpoint."""
    # The file that Orbax writes last; its own test accepts any folder as a checkpoint. In a bucket,
    # where nothing can be renamed, another file marks a complete checkpoint.
    last = "commit_success.txt" if is_address(path) else "_CHECKPOINT_METADATA"
    return (path / last).is_file()


def read_description(path: Path) -> dict[str, Any]:
    """Reads only the description of a checkpoint; raises the same errors as `read_metadata`."""
    return read_metadata(path)[0]


def read_metadata(path: Path) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Reads a checkpoint's metadata: the description, and the checksums of the arrays by name.

    The checksums are None if the checkpoint has none, because an early version wrote it.

    Raises:
      CheckpointError: the checkpoint holds an unknown network.
      DamagedCheckpoint: this program did not write the checkpoint, the description cannot be read,
        or the description's checksum is wrong.
    """
    _require_regular_files(path)
    try:
        with quiet_orbax():
            metadata = ocp.metadata(path).custom_metadata or {}
    except (AssertionError, RuntimeError):  # JAX raises these if it has no device
        raise
    except Exception as error:  # parsers raise exceptions of any class for damaged files
        reason = reason_of(error)
        raise DamagedCheckpoint(path, f"its description cannot be read ({reason})") from error
    if metadata.get("format") not in (INFERENCE_FORMAT, TRAINING_FORMAT):
        raise DamagedCheckpoint(
            path, "was not written by this program, or its description is damaged"
        )
    try:
        description, checksums = unsealed(metadata)
    except ValueError as error:
        raise DamagedCheckpoint(path, str(error)) from error
    if not {"network", "synthetic", "provenance"} <= description.keys():
        raise DamagedCheckpoint(path, "its description is incomplete")
    if description["network"] not in NETWORKS:
        raise CheckpointError(
            f"{path}: holds the network {description['network']!r}, which this version does not "
            "have."
        )
    return description, checksums


def _require_regular_files(path: Path) -> None:
    """Refuses files that would block or never end when read; a bucket cannot hold such files."""
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
                raise DamagedCheckpoint(file, "is not a regular file")
            if "METADATA" in name and status.st_size > _LARGEST_DESCRIPTION:
                raise DamagedCheckpoint(file, "is too large for a description")
        if count > _MOST_FILES:
            raise DamagedCheckpoint(path, "holds too many files for a checkpoint")


def _step(path: Path) -> int | None:
    return read_description(path)["provenance"].get("step")


def _rank(step: Path) -> tuple[float, int]:
    """Returns a sort key: lowest validation error first; without validation, latest step first."""
    error = (read_description(step).get("validation") or {}).get("SAD", float("inf"))
    return error, -int(step.name)
