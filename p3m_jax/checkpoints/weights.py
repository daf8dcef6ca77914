"""Reads and writes inference checkpoints: a network's weights, statistics and origin.

An inference checkpoint is a folder written by Orbax. It holds the arrays as {"parameters": {name:
array}, "statistics": {name: array}} with dotted names, and the description as its metadata.
Evaluation and prediction need only the path of such a folder or of a training run. They need
neither the optimiser nor TensorFlow.
"""

import glob
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from p3m_jax.checkpoints.arrays import (
    CheckpointError,
    NotFinite,
    quiet_orbax,
    read_arrays,
    reason_of,
    require_room,
    with_checksums,
)
from p3m_jax.checkpoints.folder import (
    INFERENCE_FORMAT,
    find_checkpoint,
    is_checkpoint,
    read_metadata,
)
from p3m_jax.models.network import Network, Variables, network
from p3m_jax.storage import StrPath
from p3m_jax.storage.bucket import is_address
from p3m_jax.storage.paths import user_path
from p3m_jax.version import __version__


@dataclass(frozen=True)
class InferenceCheckpoint:
    """A network that is ready to run.

    Attributes:
      network: the network's functions.
      variables: its weights and statistics; only the encoder's if `part` is "encoder".
      description: JSON values with the keys "network", "part", "synthetic" and "provenance".
      path: the folder that the checkpoint was read from.
    """

    network: Network
    variables: Variables
    description: dict[str, Any]
    path: Path

    @property
    def model_name(self) -> str:
        """The network's name in `p3m_jax.models.network`."""
        return self.network.name

    @property
    def part(self) -> str:
        """Says what the checkpoint contains: the whole "network", or only its "encoder"."""
        return self.description.get("part", "network")

    @property
    def synthetic(self) -> bool:
        """Whether the weights are only a demonstration, trained on synthetic portraits."""
        return bool(self.description["synthetic"])

    @property
    def provenance(self) -> dict[str, Any]:
        """The origin of the weights: run, step, data set, version of the program."""
        return self.description["provenance"]


def describe(
    network_name: str,
    *,
    synthetic: bool,
    provenance: dict[str, Any],
    part: str = "network",
    weights: str = "parameters",
) -> dict[str, Any]:
    """Makes the description of a checkpoint, a dict of JSON values for its metadata.

    Args:
      network_name: a name in `p3m_jax.models.network.NETWORKS`.
      synthetic: whether the weights were trained on synthetic portraits.
      provenance: the origin of the weights; the version of this program is added.
      part: "network", or "encoder" for a checkpoint without decoders.
      weights: "parameters" if inference uses the parameters of a training checkpoint, "average" if
        it uses their moving average.
    """
    return {
        "network": network_name,
        "part": part,
        "weights": weights,
        "synthetic": synthetic,
        "provenance": {"program": f"p3m-jax {__version__}", **provenance},
    }


def new_checkpoint(path: StrPath, *, overwrite: bool = False) -> Path:
    """Checks that an inference checkpoint may be written to `path`; returns the absolute path.

    Raises:
      CheckpointError: `path` already exists and `overwrite` is False; or `path` is an address of
        cloud storage (gs://...), or is inside another checkpoint.
    """
    if is_address(path):
        raise CheckpointError(f"{path}: weights can only be exported to a folder on disk.")
    path = user_path(path).absolute()
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} already exists; choose another folder with -o.")
    if any(is_checkpoint(parent) for parent in path.parents):
        raise CheckpointError(
            f"{path}: is inside another checkpoint; choose another folder with -o."
        )
    return path


def save_for_inference(
    path: StrPath, variables: Variables, description: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Writes an inference checkpoint atomically.

    Raises:
      CheckpointError: `path` is not allowed (see `new_checkpoint`) or cannot be written, or an
        array holds infinite or NaN values.
    """
    path = new_checkpoint(path, overwrite=overwrite)
    try:
        require_room(path.parent, variables)
        # If there are several processes, the first writes NumPy arrays while the others wait.
        arrays = jax.tree.map(np.asarray, variables)
        arrays = {"parameters": dict(arrays.parameters), "statistics": dict(arrays.statistics)}
        description = with_checksums({**description, "format": INFERENCE_FORMAT}, arrays)
        with quiet_orbax():
            ocp.save(path, arrays, overwrite=overwrite, custom_metadata=description)
    except NotFinite as error:
        raise CheckpointError(
            f"{path}: was not written, because of infinite or NaN values in {error}."
        ) from error
    except Exception as error:  # TensorStore's errors have no class of their own
        for partial in path.parent.glob(f"{glob.escape(path.name)}.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{path}: cannot be written ({reason_of(error)}); free disk space or name another "
            "folder."
        ) from error


def load_for_inference(path: StrPath) -> InferenceCheckpoint:
    """Loads a network from an inference checkpoint, a training checkpoint, or a run's folder.

    From a run's folder it loads the step with the lowest validation error, or the latest step if
    none was validated. If the run has exported weights from the same step, it loads these.

    Raises:
      CheckpointError: there is no checkpoint, this program did not write it, or it contains no
        decoders. The message is one sentence with the path.
    """
    checkpoint = load_weights(path)
    if checkpoint.part == "encoder":
        raise CheckpointError(
            f"{checkpoint.path}: holds only the encoder of {checkpoint.model_name}, which cannot "
            "predict mattes; use it to start training (--config.init_from=...)."
        )
    return checkpoint


def load_weights(path: StrPath) -> InferenceCheckpoint:
    """Loads a network like `load_for_inference`, but also accepts a checkpoint without decoders."""
    path = find_checkpoint(path)
    description, checksums = read_metadata(path)
    net = network(description["network"])
    encoder = description.get("part") == "encoder"
    weights = description.get("weights", "parameters")
    wanted = {
        weights if kind == "parameters" else kind: {
            name: shape
            for name, shape in shapes.items()
            if not encoder or name.startswith("encoder.")
        }
        for kind, shapes in net.shapes._asdict().items()
    }
    arrays = read_arrays(path, wanted, checksums)
    # Moves the arrays to this process's first device, whatever machine wrote them.
    arrays = jax.device_put(arrays, jax.local_devices()[0])
    variables = Variables(arrays[weights], arrays["statistics"])
    # An export of this checkpoint will hold the weights as "parameters".
    description = {**description, "weights": "parameters"}
    return InferenceCheckpoint(net, variables, description, path)
