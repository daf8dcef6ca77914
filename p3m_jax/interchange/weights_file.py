"""A file of weights, whichever kind it is, as arrays by the authors' names."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.interchange.safetensors_file import ENDING, read_safetensors
from p3m_jax.interchange.torch_file import read_torch_file
from p3m_jax.storage.bucket import is_address

# Where training programs keep the weights. The moving average comes first: it is what its
# authors' programs take of a file that holds both.
NESTED = ("state_dict_ema", "state_dict", "model")
# What programs put before each key, in any order: DataParallel, torch.compile, and modules that
# hold the network as `model` or `net`.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
_LONGEST_KEY = 200


class WeightsFileError(UserError):
    """A file without weights; one sentence with its path."""


class WeightsFile(NamedTuple):
    """The weights of a file and what it is.

    Attributes:
      arrays: {key: array} in the authors' layout.
      others: how many values beside them are no arrays.
      form: what kind of file it is, and where in it the weights were.
      sha256, size: of the whole file, hexadecimal and in bytes.
      description: what we wrote into a safetensors file, else empty.
    """

    arrays: dict[str, np.ndarray]
    others: int
    form: str
    sha256: str
    size: int
    description: dict[str, Any]


def read_weights(path) -> WeightsFile:
    """Reads a .safetensors file, or a PyTorch checkpoint of any other ending.

    Raises:
      UserError: the file cannot be read, is damaged, or holds no arrays.
    """
    if is_address(str(path).lower()):
        raise WeightsFileError(f"{path}: nothing is downloaded; download it, then name the file.")
    path = Path(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        state = "is a folder" if path.is_dir() else "is no regular file"
        raise WeightsFileError(f"{path}: {state}; name a file (.pth, .pt, {ENDING}).")
    if path.suffix.lower() == ENDING:
        content, description = read_safetensors(path)
        form = "safetensors"
    else:
        content, container = read_torch_file(path)
        description, form = {}, f"PyTorch {container}"
    arrays, others, place = _find_arrays(content)
    if not arrays:
        raise WeightsFileError(f"{path}: holds no arrays by name; name a file of weights.")
    if any(len(key) > _LONGEST_KEY or not key.isprintable() for key in arrays):
        raise WeightsFileError(f"{path}: names its arrays as no program would; name another file.")
    behind = _shared_wrappers(arrays)
    if behind:
        arrays = {key.removeprefix(behind): array for key, array in arrays.items()}
        place = f"{place}, behind {behind}".removeprefix(", ")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    form = ", ".join(filter(None, (form, place)))
    return WeightsFile(arrays, others, form, sha256, path.stat().st_size, description)


def _shared_wrappers(keys: Collection[str]) -> str:
    """The wrappers, one within another, that stand before all of the keys."""
    behind = ""
    while True:
        found = next((w for w in WRAPPERS if all(k.startswith(behind + w) for k in keys)), None)
        if found is None:
            return behind
        behind += found


def _find_arrays(content: Any) -> tuple[dict[str, np.ndarray], int, str]:
    """(arrays, the number of other values beside them, where they were)."""
    places = []
    while isinstance(content, dict) and len(places) < 3:
        place = next((name for name in NESTED if isinstance(content.get(name), dict)), None)
        if place is None:
            break
        content = content[place]
        places.append(f"under {place}")
    if not isinstance(content, dict):
        return {}, 0, ""
    arrays = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, np.ndarray)
    }
    return arrays, len(content) - len(arrays), " ".join(places)
