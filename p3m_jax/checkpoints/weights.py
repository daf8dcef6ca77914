"""Inference checkpoints: weights, statistics, which network, and where they come from.

A folder written by Orbax, holding {"parameters": ..., "statistics": ...} under dotted names, with
the description in its metadata. Evaluation and prediction load one of these, or what a training run
has left, by path alone; neither needs the optimiser or TensorFlow.
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
from p3m_jax.storage.bucket import is_address
from p3m_jax.version import __version__


@dataclass(frozen=True)
class InferenceCheckpoint:
    """A network ready to run.

    Attributes:
      network: which one.
      variables: its numbers; the encoder's alone where `part` is "encoder".
      description: {"network", "part", "synthetic", "provenance": {...}}, JSON values.
      path: the folder it was read from.
    """

    network: Network
    variables: Variables
    description: dict[str, Any]
    path: Path

    @property
    def model_name(self) -> str:
        """The network's name, as `p3m_jax.models.network` knows it."""
        return self.network.name

    @property
    def part(self) -> str:
        """What of the network it holds: "network", or "encoder" for an imported backbone."""
        return self.description.get("part", "network")

    @property
    def synthetic(self) -> bool:
        """True where the weights come from synthetic portraits: a demonstration, not a model."""
        return bool(self.description["synthetic"])

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from: run, step, data set, version of the program."""
        return self.description["provenance"]


def describe(
    network_name: str,
    *,
    synthetic: bool,
    provenance: dict[str, Any],
    part: str = "network",
    weights: str = "parameters",
) -> dict[str, Any]:
    """The description that goes into a checkpoint's metadata, JSON values only.

    `part` is "network", or "encoder" where the decoders are not in it. `weights` is which of a
    training checkpoint's are the network's: "parameters", or their "average".
    """
    return {
        "network": network_name,
        "part": part,
        "weights": weights,
        "synthetic": synthetic,
        "provenance": {"program": f"p3m-jax {__version__}", **provenance},
    }


def save_for_inference(
    path, variables: Variables, description: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Writes an inference checkpoint, whole or not at all.

    Raises:
      CheckpointError: there is something at `path` already, and `overwrite` is off; or it is no
        place of the file system; or an array holds what is no number.
    """
    if is_address(path):
        raise CheckpointError(f"{path}: weights are exported to a folder of the file system.")
    path = Path(path).absolute()
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists already; name another folder or remove it first.")
    if any(is_checkpoint(parent) for parent in path.parents):
        raise CheckpointError(f"{path}: lies inside another checkpoint; name another folder.")
    try:
        require_room(path.parent, variables)
        # NumPy arrays are written by the first of several processes, while the others wait.
        arrays = jax.tree.map(np.asarray, variables)
        arrays = {"parameters": dict(arrays.parameters), "statistics": dict(arrays.statistics)}
        description = with_checksums({**description, "format": INFERENCE_FORMAT}, arrays)
        with quiet_orbax():
            ocp.save(path, arrays, overwrite=overwrite, custom_metadata=description)
    except NotFinite as error:
        raise CheckpointError(f"{path}: is not written, for {error} hold no numbers.") from error
    except Exception as error:  # TensorStore's errors have no class of their own
        for partial in path.parent.glob(f"{glob.escape(path.name)}.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{path}: cannot be written ({reason_of(error)}); make room or name another folder."
        ) from error


def load_for_inference(path) -> InferenceCheckpoint:
    """Loads weights from an inference checkpoint, a training checkpoint, or a run's folder.

    Of a run's folder the best step by validation is taken (its exported weights where they are
    those), or the latest where none was scored.

    Raises:
      CheckpointError: there is none, or it is not ours, or holds no decoders; one sentence with the
        path.
    """
    checkpoint = load_weights(path)
    if checkpoint.part == "encoder":
        raise CheckpointError(
            f"{checkpoint.path}: holds the encoder of {checkpoint.model_name} alone, which "
            "predicts nothing; start a training from it with --config.init_from=..."
        )
    return checkpoint


def load_weights(path) -> InferenceCheckpoint:
    """Loads as `load_for_inference` does, also the encoder of an imported backbone."""
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
    # Onto this process's first device, whatever machine wrote it.
    arrays = jax.device_put(arrays, jax.local_devices()[0])
    variables = Variables(arrays[weights], arrays["statistics"])
    description = {**description, "weights": "parameters"}  # of what is exported from here
    return InferenceCheckpoint(net, variables, description, path)
