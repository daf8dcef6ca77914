"""Weights as safetensors files, under the authors' names and in their layout.

Where they come from stands in the file's metadata, as JSON under one key.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from p3m_jax.errors import UserError
from p3m_jax.files import whole_file

ENDING = ".safetensors"
_DESCRIPTION = "p3m_jax"
# What the library and the parser raise; an AttributeError where NumPy lacks a kind of number.
_DAMAGE = (safetensors.SafetensorError, ValueError, TypeError, AttributeError, RecursionError)


class SafetensorsError(UserError):
    """A safetensors file that cannot be read or written; one sentence with its path."""


def write_safetensors(path, arrays: Mapping[str, np.ndarray], description: dict[str, Any]) -> None:
    """Writes {key: array} with its description (JSON values), whole or not at all.

    Raises:
      SafetensorsError: there is something at `path` already.
    """
    path = Path(path)
    if path.exists():
        raise SafetensorsError(f"{path} exists already; name another file or remove it first.")
    metadata = {"format": "pt", _DESCRIPTION: json.dumps(description)}
    contiguous = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    with whole_file(path) as file:
        file.write(safetensors.numpy.save(contiguous, metadata))


def read_safetensors(path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file by their keys, and the description; empty where we did not write it.

    Raises:
      SafetensorsError: the file is damaged or no safetensors file.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            description = json.loads((file.metadata() or {}).get(_DESCRIPTION, "{}"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SafetensorsError(f"{path}: cannot be read ({reason}).") from error
    except _DAMAGE as error:
        reason = str(error)[:200]
        raise SafetensorsError(
            f"{path}: is no safetensors file, or is cut off or damaged ({reason}): copy it anew."
        ) from error
    if not isinstance(description, dict):
        raise SafetensorsError(f"{path}: its description is damaged; copy it anew.")
    return arrays, description
