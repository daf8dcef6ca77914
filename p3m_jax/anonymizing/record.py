"""Writes the record of a picture's obfuscation, which is meant only for the picture's owner.

The record contains the landmarks of the faces to a fraction of a pixel, which are biometric data.
It also contains the hash of the input. So anyone who has the original picture can prove that it is
the input.
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from p3m_jax.anonymizing.hidden import Hidden
from p3m_jax.faces.finding import FoundFace
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.faces.views import SMALLEST_TURNED, SMALLEST_UPRIGHT
from p3m_jax.faces.weights import weights_versions
from p3m_jax.jobs.plan import Job
from p3m_jax.pictures.photos import digest
from p3m_jax.version import __version__


def make_record(
    job: Job, hidden: Hidden, obfuscation: Obfuscation, area: str, files: dict[str, Path]
) -> str:
    """Returns a picture's record as one line of JSON. Positions are (x, y) in pixels.

    Args:
      job: the picture.
      hidden: its face areas and obfuscated copy.
      obfuscation: the obfuscation that was applied.
      area: what was obfuscated of each face, "face" or "head". If the user's mask marks a face,
        the area in the mask was obfuscated instead.
      files: {kind: file} of the written outputs, whose hashes are recorded.
    """
    record = {
        "input": str(job.source),
        "input_sha256": hidden.sha256,
        "size": list(hidden.areas.labels.shape[::-1]),
        "given": list(hidden.given),
        "mask_is": hidden.mask_is,
        "area": area,
        # Faces whose box has at least this longer side, in pixels, are nearly always found.
        "smallest_face": {"upright": SMALLEST_UPRIGHT, "turned": SMALLEST_TURNED},
        "obfuscation": {
            "mode": obfuscation.mode,
            "strength": None if obfuscation.mode == "fill" else obfuscation.strength,
            "below_safe_strength": obfuscation.below_safe_strength,
        },
        "faces": [_face(face) for face in hidden.areas.faces],
        "areas": _areas(hidden.areas.private, obfuscation),
        "versions": {
            "p3m-jax": __version__,
            "opencv": importlib.metadata.version("opencv-python-headless"),
            "numpy": np.__version__,
            **{f"{name}_sha256": value for name, value in weights_versions().items()},
        },
        "outputs": {
            kind: {"file": str(job.outputs[kind]), "sha256": digest(file)}
            for kind, file in files.items()
        },
    }
    return json.dumps(record) + "\n"


def _face(found: FoundFace) -> dict:
    return {
        "box": _rounded(found.face.box),
        "score": round(found.face.score, 4),
        "points": _rounded(found.face.points),
        "landmarks": _rounded(found.landmarks.points),
        "presence": round(found.landmarks.presence, 4),
        "disagreement": round(found.landmarks.disagreement, 4),
        "polygon": _rounded(found.polygon),
    }


def _areas(private: np.ndarray, obfuscation: Obfuscation) -> list[dict]:
    """Describes the obfuscated area of every label: box, number of pixels, strength in pixels."""
    areas = []
    for label in np.unique(private[private > 0])[::-1]:
        rows, columns = np.nonzero(private == label)
        left, top = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) - left + 1, int(rows.max()) - top + 1
        strength = obfuscation.strength * max(width, height)
        areas.append(
            {
                "label": int(label),
                "box": [left, top, width, height],
                "pixels": len(rows),
                "strength_in_pixels": None if obfuscation.mode == "fill" else round(strength, 1),
            }
        )
    return areas


def _rounded(values: ArrayLike) -> list:
    return np.round(np.asarray(values, np.float64), 1).tolist()
