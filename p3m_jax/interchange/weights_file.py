"""Reads a file of weights in any supported format, as arrays under the authors' names."""

import hashlib
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.interchange.safetensors_file import ENDING, read_safetensors
from p3m_jax.interchange.torch_file import read_torch_file
from p3m_jax.storage import StrPath
from p3m_jax.storage.bucket import is_address
from p3m_jax.storage.paths import user_path

# The keys under which training programs save the weights. The moving average comes first, because
# the authors of such files use it if a file holds both.
NESTED = ("state_dict_ema", "state_dict", "model")
# Prefixes that programs add to each key, in any order: DataParallel, torch.compile, and modules
# that hold the network as `model` or `net`.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
_LONGEST_KEY = 200


class WeightsFileError(UserError):
    """A file holds no usable weights; the message is one sentence with its path."""


class WeightsFile(NamedTuple):
    """The weights of a file, and information about the file.

    Attributes:
      arrays: {key: array} in the authors' layout.
      others: how many values of the file are not arrays; they are ignored.
      form: a phrase for the format of the file and the position of the weights in it.
      sha256: the hash of the whole file, hexadecimal.
      size: the size of the file in bytes.
      description: the description that this program wrote into a safetensors file, or empty.
    """

    arrays: dict[str, np.ndarray]
    others: int
    form: str
    sha256: str
    size: int
    description: dict[str, Any]


def read_weights(path: StrPath) -> WeightsFile:
    """Reads a file of weights.

    A file with the ending .safetensors is read in this format; any other as a PyTorch checkpoint.

    Raises:
      UserError: the file cannot be read, is damaged, or holds no arrays.
    """
    if is_address(str(path).lower()):
        raise WeightsFileError(
            f"{path}: this program downloads nothing; download the file and use its path."
        )
    path = user_path(path)
    if path.exists() and not path.is_file():  # opening a pipe would block
        state = "is a folder" if path.is_dir() else "is not a regular file"
        raise WeightsFileError(f"{path}: {state}; choose a file (.pth, .pt, {ENDING}).")
    if path.suffix.lower() == ENDING:
        content, description = read_safetensors(path)
        form = "safetensors"
    else:
        content, container = read_torch_file(path)
        description, form = {}, f"PyTorch {container}"
    arrays, others, place = _find_arrays(content)
    if not arrays:
        raise WeightsFileError(f"{path}: holds no parameters; choose a file of weights.")
    if any(len(key) > _LONGEST_KEY or not key.isprintable() for key in arrays):
        raise WeightsFileError(
            f"{path}: has array names that are too long or not printable; choose another file."
        )
    behind = _shared_wrappers(arrays)
    if behind:
        arrays = {key.removeprefix(behind): array for key, array in arrays.items()}
        place = f"{place}, behind {behind}".removeprefix(", ")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    form = ", ".join(filter(None, (form, place)))
    return WeightsFile(arrays, others, form, sha256, path.stat().st_size, description)


def _shared_wrappers(keys: Collection[str]) -> str:
    """Returns the prefix of wrappers, possibly nested, that all keys have in common."""
    behind = ""
    while True:
        found = next((w for w in WRAPPERS if all(k.startswith(behind + w) for k in keys)), None)
        if found is None:
            return behind
        behind += found


def _find_arrays(content: Any) -> tuple[dict[str, np.ndarray], int, str]:
    """Returns (arrays, the number of other values next to them, where they were found)."""
    places: list[str] = []
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
