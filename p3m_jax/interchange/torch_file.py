"""Reads the arrays of a PyTorch checkpoint (.pth, .pt, .pth.tar) without PyTorch.

PyTorch has two file formats, and both are supported. The current one is a zip archive with a pickle
and one file per storage. The legacy one is a series of pickles followed by the storages. The file
is mapped into memory, and the arrays are views of it. So only the parts that are used are read. No
code in the file is run, see `pickle_reader`.
"""

import functools
import io
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from p3m_jax.errors import UserError
from p3m_jax.interchange.pickle_reader import Inert, PickleError, read_pickle
from p3m_jax.interchange.zip_archive import content_of, read_entries, refuse_overlaps, start_of
from p3m_jax.storage import StrPath

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_PICKLE_LIMIT = 1 << 22  # bytes; pickles of real checkpoints with optimiser are below 1 MB
_MOST_NAMES = (
    8  # average uses of each stored value; files of ResNet-34 use those of the encoder twice
)
_MOST_DIMENSIONS = 32  # the limit of NumPy before version 2

_NUMBERS: dict[str, DTypeLike] = {"Float": np.float32, "Double": np.float64, "Half": np.float16}
_NUMBERS |= {"BFloat16": ml_dtypes.bfloat16, "Long": np.int64, "Int": np.int32}
_NUMBERS |= {"Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_}
_DTYPES = {f"torch {name}Storage": np.dtype(dtype) for name, dtype in _NUMBERS.items()}

# Objects that training programs save next to the weights: settings, and scores as NumPy numbers.
# They are never built, whatever their arguments are.
_INERT = {"argparse Namespace", "yacs.config CfgNode", "torch device", "pathlib PosixPath"}
_INERT |= {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy dtype"}
_INERT |= {"_codecs encode", "__builtin__ set", "builtins set"}  # bytes are pickled as a call


class TorchFileError(UserError):
    """A file cannot be read as a PyTorch checkpoint; the message is one sentence with its path."""


class TorchFile(NamedTuple):
    """The contents of a file.

    Attributes:
      content: the value in the file. It consists of dictionaries, lists, tuples, numbers, strings
        and read-only arrays, which are views of the file. Other saved objects, such as a training
        program's settings, are replaced by `Inert`.
      container: the format, "zip" or "legacy".
    """

    content: Any
    container: str


class _Storage(NamedTuple):
    buffer: Any
    offset: int  # in bytes
    dtype: np.dtype
    count: int  # type: ignore[assignment]  # hides a method of tuples


def read_torch_file(path: StrPath) -> TorchFile:
    """Reads a PyTorch checkpoint, in the zip or the legacy format.

    Raises:
      TorchFileError: the file is damaged, or holds something other than tensors, plain containers,
        numbers, strings and settings.
    """
    path = Path(path)
    data = _mapped(path)
    try:
        if data[:4] == b"PK\x03\x04":
            return TorchFile(_read_zip(data), "zip")
        # The pickle's protocol comes first, and since protocol 4 a frame.
        if _LEGACY_START in data[:32]:
            return TorchFile(_read_legacy(data), "legacy")
    except PickleError as error:
        raise TorchFileError(f"{path}: {error}.") from error
    if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise TorchFileError(
            f"{path}: is a web page, not a PyTorch checkpoint; download the file itself."
        )
    raise TorchFileError(
        f"{path}: is not a PyTorch checkpoint, neither zip nor legacy; choose another file."
    )


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise TorchFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise TorchFileError(f"{path}: is empty; download the file again.") from error


def _read_zip(data: mmap.mmap) -> Any:
    entries = read_entries(data)
    described = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(described) != 1:
        raise PickleError("is a zip archive, but not a checkpoint; if it contains one, unpack it")
    refuse_overlaps(data, entries)
    top = described[0].removesuffix("data.pkl")
    order = entries.get(f"{top}byteorder")
    if order and content_of(data, order) != b"little":
        raise PickleError("was written on a big-endian machine; save it again on another one")

    @functools.cache
    def place(key: str) -> tuple[int, int]:
        entry = entries.get(f"{top}data/{key}")
        if entry is None:
            raise PickleError(f"does not contain storage {key!r:.80}; download the file again")
        content_of(data, entry)
        return start_of(data, entry), entry.file_size

    def load(identity: object) -> _Storage:
        dtype, key, count = _identity(identity)
        offset, size = place(key)
        if count * dtype.itemsize != size:
            raise PickleError(
                f"storage {key!r:.80} has {size} bytes, which does not fit its {count} numbers; "
                "download the file again"
            )
        return _Storage(data, offset, dtype, count)

    if entries[described[0]].file_size > _PICKLE_LIMIT:
        raise PickleError(
            "its tensor list is far too large for a checkpoint; download the file again"
        )
    content = io.BytesIO(content_of(data, entries[described[0]]))
    return read_pickle(content, _Globals(len(data)).find, load)


def _read_legacy(data: mmap.mmap) -> Any:
    file = io.BytesIO(data[:_PICKLE_LIMIT])
    counts: dict[str, tuple[np.dtype, int]] = {}
    magic, protocol, system = (read_pickle(file, _Globals(0).find) for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise PickleError("is in an unknown version of PyTorch's legacy form")
    if system.get("little_endian") is not True:
        raise PickleError("was written on a big-endian machine; save it again on another one")
    # The storages follow the pickles that refer to them. So the pickle is read twice: first for the
    # size of each storage, and again when the positions of the storages are known.
    begin = file.tell()

    def count_only(identity: object) -> _Storage:
        dtype, key, count = _identity(identity)
        if counts.setdefault(key, (dtype, count)) != (dtype, count):
            raise PickleError(f"refers to storage {key!r:.80} with two different sizes")
        return _Storage(None, 0, dtype, count)

    read_pickle(file, _Globals(0).find, count_only)
    keys = read_pickle(file, _Globals(0).find)
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(counts):
        raise PickleError("does not hold the storages that it refers to")
    places, position = {}, file.tell()
    for key in keys:
        dtype, count = counts[key]
        size = count * dtype.itemsize
        if position + 8 + size > len(data):
            raise PickleError("is cut off; download the file again")
        if int.from_bytes(data[position : position + 8], "little") != count:
            raise PickleError(f"the size of storage {key!r:.80} does not match its tensors")
        places[key] = position + 8
        position += 8 + size
    file.seek(begin)

    def load(identity: object) -> _Storage:
        dtype, key, count = _identity(identity)
        return _Storage(data, places[key], dtype, count)

    return read_pickle(file, _Globals(len(data)).find, load)


def _identity(identity: object) -> tuple[np.dtype, str, int]:
    """Returns (dtype, key, count) of an identity ("storage", type, key, device, count).

    In the legacy form, a sixth entry may describe a storage of which this one is a view. Only files
    from before PyTorch 0.4 use it.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
        raise TypeError("an external reference is not a tensor storage")
    kind, storage_type, key, _, count = identity[:5]
    # The type is checked first, because an array would be compared element by element.
    if not isinstance(kind, str) or kind != "storage":
        raise TypeError("an external reference is not a tensor storage")
    if not isinstance(storage_type, _StorageType) or not isinstance(key, str):
        raise TypeError("a storage without type or key")
    if len(identity) == 6 and identity[5] is not None:
        raise PickleError(
            "holds views of storages, as PyTorch wrote them before version 0.4; save "
            "it again with a current version"
        )
    return storage_type.dtype, key, _whole(count)


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Globals:
    """Provides the replacements for the names in a file's pickle.

    On average, the tensors may use each value in the file only a few times. This limits the memory
    for copies of the tensors to a few times the size of the file.
    """

    def __init__(self, file_size: int) -> None:
        self.left = _MOST_NAMES * file_size
        self.functions: dict[str, Callable[..., Any]] = {
            "torch._utils _rebuild_tensor_v2": self.tensor,
            **_FUNCTIONS,
        }

    def find(self, name: str) -> Any:
        """Returns the replacement for a name: a storage's type, a function, or `Inert`."""
        if name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if name in _INERT:
            return Inert
        if name in self.functions:
            return self.functions[name]
        raise PickleError(
            f"contains {name.replace(' ', '.', 1)!r:.80}, which is neither a tensor nor a plain "
            "value; it is refused, and none of its code was run"
        )

    def tensor(
        self,
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        requires_grad: object = False,
        hooks: object = None,
        extra: object = None,
    ) -> np.ndarray:
        """Returns a view of a storage; an empty array if its position is not known yet."""
        if not isinstance(storage, _Storage):
            raise TypeError("a tensor without storage")
        shape, strides, offset = _size(shape), _size(strides), _whole(offset)
        if len(shape) != len(strides):
            raise TypeError("a tensor whose strides do not fit its shape")
        elements = functools.reduce(lambda product, size: min(product * size, 1 << 62), shape, 1)
        if elements > storage.count:
            raise PickleError(
                f"holds a tensor of shape {shape}, but only {storage.count} numbers for it; "
                "download the file again"
            )
        if storage.buffer is None or not elements:
            return np.empty(shape if not elements else 0, storage.dtype)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if last >= storage.count:
            raise PickleError("holds a tensor that extends beyond its storage")
        item = storage.dtype.itemsize
        self.left -= elements * item
        if self.left < 0:
            raise PickleError(
                "shares storage among its tensors far more than a checkpoint does; use another file"
            )
        return np.ndarray(
            shape,
            storage.dtype,
            buffer=storage.buffer,
            offset=storage.offset + offset * item,
            strides=tuple(stride * item for stride in strides),
        )


def _parameter(tensor: object, requires_grad: object = False, hooks: object = None) -> np.ndarray:
    if not isinstance(tensor, np.ndarray):
        raise TypeError("a parameter that is not a tensor")
    return tensor


def _size(sizes: object = ()) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > _MOST_DIMENSIONS:
        raise TypeError("sizes that are not a short list")
    return tuple(map(_whole, sizes))


def _whole(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number < 1 << 60:
        raise TypeError("a size that is not a whole number")
    return number


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": lambda: {},
    "torch Size": _size,
}
