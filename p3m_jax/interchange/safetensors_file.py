"""Reads and writes safetensors files with weights in the authors' names and layout.

The file's metadata holds, as JSON under one key, the origin of the weights and a checksum of each
array.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from p3m_jax.checkpoints.arrays import checksum_of, damaged_arrays, sealed, unsealed
from p3m_jax.errors import UserError
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import whole_file
from p3m_jax.storage.paths import user_path
from p3m_jax.text import warn

ENDING = ".safetensors"
_DESCRIPTION = "p3m_jax"
_LARGEST_HEADER = 1 << 23  # bytes; a network of 700 arrays has less than 200 KB
# What the library and the parser raise; AttributeError means that NumPy lacks a dtype.
_DAMAGE = (safetensors.SafetensorError, ValueError, TypeError, AttributeError, RecursionError)


class SafetensorsError(UserError):
    """A safetensors file cannot be read or written; the message is one sentence with its path."""


def write_safetensors(
    path: StrPath, arrays: Mapping[str, np.ndarray], description: dict[str, Any]
) -> None:
    """Writes {key: array} with its description (JSON values) atomically.

    Raises:
      SafetensorsError: `path` already exists.
    """
    path = user_path(path)
    if path.exists():
        raise SafetensorsError(f"{path} already exists; choose another file with -o.")
    contiguous = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    content = sealed(description, {key: checksum_of(array) for key, array in contiguous.items()})
    metadata = {"format": "pt", _DESCRIPTION: json.dumps(content)}
    with whole_file(path) as file:
        file.write(safetensors.numpy.save(contiguous, metadata))


def read_safetensors(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads {key: array} and the description from a file.

    The description is what `write_safetensors` stored; it is empty if another program wrote the
    file.

    Raises:
      SafetensorsError: the file is damaged or not a safetensors file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        # In a file of another kind, this number is usually larger than the file; the library
        # reports that.
        if _LARGEST_HEADER < length < path.stat().st_size:
            raise SafetensorsError(f"{path}: the tensor list is far too long.")
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            content = json.loads((file.metadata() or {}).get(_DESCRIPTION, "{}"))
        if not isinstance(content, dict):
            raise SafetensorsError(f"{path}: its description is damaged; copy the file again.")
        description, checksums = unsealed(content)
    except SafetensorsError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SafetensorsError(f"{path}: cannot be read ({reason}).") from error
    except _DAMAGE as error:
        reason = str(error)[:200]
        raise SafetensorsError(
            f"{path}: is not a safetensors file, or is cut off or damaged ({reason}); copy the "
            "file again."
        ) from error
    if checksums is None:
        if description:
            warn(f"{path}: has no checksums, so damage may not be noticed.")
        return arrays, description
    problems = damaged_arrays(arrays, checksums)
    problems += [f"{key} is missing" for key in checksums.keys() - arrays.keys()]
    if problems:
        raise SafetensorsError(
            f"{path}: is damaged or was changed since it was written ({problems[0]}); copy the "
            "file again."
        )
    return arrays, description
