"""Inference checkpoints: weights, statistics, which network, and where they come from.

A folder written by Orbax, holding {"parameters": ..., "statistics": ...} under dotted names, with
the description in its metadata. Evaluation and prediction load one of these, or what a training run
has left, by path alone; neither needs the optimiser or TensorFlow.
"""

import functools
import glob
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from p3m_jax import __version__
from p3m_jax.bucket import folder_or_bucket, is_address
from p3m_jax.compilation import for_inference
from p3m_jax.data.folders import user_path
from p3m_jax.errors import UserError
from p3m_jax.models.network import ENCODERS, Network, Variables, network

INFERENCE_FORMAT = "p3m-jax inference"
TRAINING_FORMAT = "p3m-jax training"

# Where a run keeps what; `p3m_jax.training` writes them.
RUN_INFERENCE = "inference"
RUN_CHECKPOINTS = "checkpoints"


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message names the path and the remedy."""


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

    def predict(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """The network's maps for `pictures`, see `predict`."""
        return predict(self.network, self.variables, pictures)


def predict(network: Network, variables: Variables, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a network on pictures (B, H, W, 3), RGB in [0, 255], sides multiples of 32.

    Returns float32 maps: `semantic` logits (B, H, W, 3), `detail` and `fusion` alpha (B, H, W, 1)
    in [0, 1]. Each size of picture is compiled once in a process.
    """
    maps = _forward()(network, variables, np.asarray(pictures, np.float32))
    return {name: np.asarray(value) for name, value in maps.items()}


@functools.cache
def _forward():
    def forward(network, variables, pictures):
        outputs, _ = network.apply(variables, pictures)
        return {name: getattr(outputs, name) for name in ("semantic", "detail", "fusion")}

    options = for_inference(jax.default_backend())
    return jax.jit(forward, static_argnums=0, compiler_options=options)


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
        place of the file system.
    """
    if is_address(path):
        raise CheckpointError(f"{path}: weights are exported to a folder of the file system.")
    path = Path(path).absolute()
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists already; name another folder or remove it first.")
    if any(_is_checkpoint(parent) for parent in path.parents):
        raise CheckpointError(f"{path}: lies inside another checkpoint; name another folder.")
    try:
        # Orbax hangs at exit if it cannot write at all: so this is found out first.
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        needed = sum(array.nbytes for part in variables for array in part.values())
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise OSError(f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
        # NumPy arrays are written by the first of several processes, while the others wait.
        arrays = jax.tree.map(np.asarray, variables)
        ocp.save(
            path,
            {"parameters": dict(arrays.parameters), "statistics": dict(arrays.statistics)},
            overwrite=overwrite,
            custom_metadata={**description, "format": INFERENCE_FORMAT},
        )
    except Exception as error:  # TensorStore's errors have no class of their own
        for partial in path.parent.glob(f"{glob.escape(path.name)}.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{path}: cannot be written ({_first_line(error)}); make room or name another folder."
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
    description = read_description(path)
    net = network(description["network"])
    encoder = description.get("part") == "encoder"
    weights = description.get("weights", "parameters")
    wanted = {
        weights if kind == "parameters" else kind: {
            name: _abstract(shape)
            for name, shape in shapes.items()
            if not encoder or name.startswith("encoder.")
        }
        for kind, shapes in net.shapes._asdict().items()
    }
    try:
        # A training checkpoint holds the optimiser too: it stays on disk.
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        with context:
            arrays = ocp.load(path, wanted)
    except Exception as error:  # TensorStore's errors have no class of their own
        raise CheckpointError(
            f"{path}: the weights of {net.name} cannot be read from it ({_first_line(error)}); "
            "it is damaged or was written by another version: copy it anew."
        ) from error
    variables = Variables(arrays[weights], arrays["statistics"])
    description = {**description, "weights": "parameters"}  # of what is exported from here
    return InferenceCheckpoint(net, variables, description, path)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _abstract(value):
    # Loaded onto this process's first device, whatever machine wrote it.
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)


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
    if _is_checkpoint(path):
        return path
    steps = complete_steps(path / RUN_CHECKPOINTS) or complete_steps(path)
    best = min(steps, key=_rank) if steps else None
    exported = path / RUN_INFERENCE
    # A run that went on after its export may have found better weights since.
    if _is_checkpoint(exported) and (best is None or _step(exported) == _step(best)):
        return exported
    if best is not None:
        return best
    raise CheckpointError(
        f"{path}: holds no checkpoint; name the folder of a run or of an exported checkpoint."
    )


def complete_steps(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, given its folder of checkpoints, in no order."""
    return [p for p in folder.glob("*") if p.name.isdigit() and _is_checkpoint(p)]


def _step(path: Path) -> int | None:
    return _metadata(path).get("provenance", {}).get("step")


def _is_checkpoint(path: Path) -> bool:
    # What Orbax writes last; its own test takes any folder for a checkpoint. In a bucket, where
    # nothing can be renamed, another file tells that all is there.
    last = "commit_success.txt" if is_address(path) else "_CHECKPOINT_METADATA"
    return (path / last).is_file()


def _rank(step: Path):
    """Sorts the best by validation first, then the latest."""
    error = (_metadata(step).get("validation") or {}).get("SAD", float("inf"))
    return error, -int(step.name)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        return ocp.metadata(path).custom_metadata or {}
    except (ValueError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its description cannot be read ({error}).") from error


def read_description(path: Path) -> dict[str, Any]:
    """The description of a checkpoint folder; `CheckpointError` if it is not one of ours."""
    metadata = _metadata(path)
    if metadata.get("format") not in (INFERENCE_FORMAT, TRAINING_FORMAT):
        raise CheckpointError(
            f"{path}: is an Orbax checkpoint, but not one of this program, or its description is "
            "damaged; name another."
        )
    if not {"network", "synthetic", "provenance"} <= metadata.keys():
        raise CheckpointError(f"{path}: its description is incomplete; copy it anew.")
    if metadata["network"] not in ENCODERS:
        raise CheckpointError(
            f"{path}: holds the network {metadata['network']!r}, which this version lacks."
        )
    return metadata
