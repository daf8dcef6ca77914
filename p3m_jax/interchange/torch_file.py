"""Reads the arrays of a PyTorch checkpoint (.pth, .pt, .pth.tar) without PyTorch.

Both containers are known: the current one, a zip archive of a pickle and a file per storage, and
the legacy one, pickles followed by the storages. The file is mapped into memory and the arrays are
views of it, so that only what is used is read. Nothing in the file is run: see `pickle_reader`.
"""

import functools
import io
import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.interchange.pickle_reader import Inert, PickleError, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_PICKLE_LIMIT = 1 << 24  # bytes; those of real checkpoints, optimiser included, are below 1 MB
_ELEMENTS_LIMIT = 1 << 40
_MOST_DIMENSIONS = 32  # NumPy had no more before version 2

_DTYPES = {"Float": np.float32, "Double": np.float64, "Half": np.float16}
_DTYPES |= {"BFloat16": ml_dtypes.bfloat16, "Long": np.int64, "Int": np.int32}
_DTYPES |= {"Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_}
_DTYPES = {f"torch {name}Storage": np.dtype(dtype) for name, dtype in _DTYPES.items()}

# What training programs keep beside the weights: settings, and scores as NumPy's numbers. They are
# not built, whatever they are called with.
_INERT = {"argparse Namespace", "yacs.config CfgNode", "torch device", "pathlib PosixPath"}
_INERT |= {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy dtype"}
_INERT |= {"_codecs encode", "__builtin__ set", "builtins set"}  # bytes are pickled as a call


class TorchFileError(UserError):
    """A file that cannot be read as a PyTorch checkpoint; one sentence with its path."""


class TorchFile(NamedTuple):
    """What a file holds.

    Attributes:
      content: its value, of dictionaries, lists, tuples, numbers, texts and read-only arrays, which
        are views of the file; settings of no interest are `Inert`.
      container: "zip" or "legacy".
    """

    content: Any
    container: str


class _Storage(NamedTuple):
    buffer: Any
    offset: int  # in bytes
    dtype: np.dtype
    count: int


def read_torch_file(path) -> TorchFile:
    """Reads a checkpoint in either container.

    Raises:
      TorchFileError: it is damaged, or holds anything but tensors, plain containers, numbers, texts
        and settings.
    """
    path = Path(path)
    data = _mapped(path)
    try:
        if data[:4] == b"PK\x03\x04":
            return TorchFile(_read_zip(path, data), "zip")
        if _LEGACY_START in data[:32]:  # behind the protocol and, from 4 on, a frame
            return TorchFile(_read_legacy(data), "legacy")
    except PickleError as error:
        raise TorchFileError(f"{path}: {error}.") from error
    web_page = data[:512].lstrip().lower().startswith((b"<!doctype", b"<html"))
    hint = "it is a web page: download the file itself" if web_page else "name another"
    raise TorchFileError(f"{path}: is no checkpoint of PyTorch in either of its forms; {hint}.")


def _mapped(path: Path):
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise TorchFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise TorchFileError(f"{path}: is empty; copy it anew.") from error


def _read_zip(path: Path, data) -> Any:
    entries = _entries(path)
    described = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(described) != 1:
        raise PickleError("is a zip archive, but no checkpoint; if it contains one, unpack it")
    top = described[0].removesuffix("data.pkl")
    order = entries.get(f"{top}byteorder")
    if order and _content(data, order) != b"little":
        raise PickleError("was written on a big-endian machine, which is not supported")

    @functools.cache
    def place(key: str) -> tuple[int, int]:
        entry = entries.get(f"{top}data/{key}")
        if entry is None:
            raise PickleError(f"lacks the numbers of storage {key!r:.80}")
        _content(data, entry)
        return _start(data, entry), entry.file_size

    def load(identity) -> _Storage:
        dtype, key, count = _identity(identity)
        offset, size = place(key)
        if count * dtype.itemsize != size:
            raise PickleError(f"storage {key!r:.80} has {size} bytes, not those of {count} numbers")
        return _Storage(data, offset, dtype, count)

    if entries[described[0]].file_size > _PICKLE_LIMIT:
        raise PickleError("its description of the arrays is absurdly large")
    return read_pickle(io.BytesIO(_content(data, entries[described[0]])), _find_global, load)


def _entries(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise PickleError(f"is cut off or damaged ({error}): copy it anew") from error
    entries = {}
    for entry in listed:
        if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
            raise PickleError(f"has an entry that leads elsewhere ({entry.filename!r:.80})")
        if entry.filename in entries:
            raise PickleError(f"has two entries {entry.filename!r:.80}")
        entries[entry.filename] = entry
    return entries


def _start(data, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry begin; checks that they are plain and inside the file."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise PickleError("is compressed or encrypted, which PyTorch's files are not")
    header = data[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise PickleError("is damaged: copy it anew")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + entry.file_size > len(data) or entry.file_size != entry.compress_size:
        raise PickleError("is cut off or damaged: copy it anew")
    return start


def _content(data, entry: zipfile.ZipInfo) -> memoryview:
    start = _start(data, entry)
    content = memoryview(data)[start : start + entry.file_size]
    if zlib.crc32(content) != entry.CRC:
        raise PickleError(
            f"has a wrong checksum ({entry.filename!r:.80}): it is damaged or was saved without "
            "checksums; copy or save it anew"
        )
    return content


def _read_legacy(data) -> Any:
    file = io.BytesIO(data[:_PICKLE_LIMIT])
    counts: dict[str, tuple[np.dtype, int]] = {}
    magic, protocol, system = (read_pickle(file, _find_global) for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise PickleError("is of a version of PyTorch's legacy form that is not known")
    if system.get("little_endian") is not True:
        raise PickleError("was written on a big-endian machine, which is not supported")
    # The numbers stand behind the pickles that name them: the pickle is read once to know how many
    # there are of each storage, and once more when their places are known.
    begin = file.tell()

    def count_only(identity) -> _Storage:
        dtype, key, count = _identity(identity)
        if counts.setdefault(key, (dtype, count)) != (dtype, count):
            raise PickleError(f"names storage {key!r:.80} with two sizes")
        return _Storage(None, 0, dtype, count)

    read_pickle(file, _find_global, count_only)
    keys = read_pickle(file, _find_global)
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(counts):
        raise PickleError("does not hold the storages that it names")
    places, position = {}, file.tell()
    for key in keys:
        dtype, count = counts[key]
        size = count * dtype.itemsize
        if position + 8 + size > len(data):
            raise PickleError("is cut off: copy it anew")
        if int.from_bytes(data[position : position + 8], "little") != count:
            raise PickleError(f"storage {key!r:.80} has another size than its tensors say")
        places[key] = position + 8
        position += 8 + size
    file.seek(begin)

    def load(identity) -> _Storage:
        dtype, key, count = _identity(identity)
        return _Storage(data, places[key], dtype, count)

    return read_pickle(file, _find_global, load)


def _identity(identity) -> tuple[np.dtype, str, int]:
    """(dtype, key, count) of ("storage", its type, its key, the device, its count of numbers).

    The legacy form adds what it is a view of, which only files from before PyTorch 0.4 use.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise TypeError("what is kept elsewhere is no storage")
    _, storage_type, key, _, count = identity[:5]
    if not isinstance(storage_type, _StorageType) or not isinstance(key, str):
        raise TypeError("a storage without type or key")
    if len(identity) == 6 and identity[5] is not None:
        raise PickleError("holds views of storages, as PyTorch wrote before version 0.4")
    return storage_type.dtype, key, _whole(count)


class _StorageType(NamedTuple):
    dtype: np.dtype


def _find_global(name: str) -> Any:
    if name in _DTYPES:
        return _StorageType(_DTYPES[name])
    if name in _INERT:
        return Inert
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    raise PickleError(
        f"names {name.replace(' ', '.', 1)!r:.80}, which is no array and no plain value; it is "
        "refused, and nothing of it was run"
    )


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without storage")
    shape, strides, offset = _size(shape), _size(strides), _whole(offset)
    if len(shape) != len(strides):
        raise TypeError("a tensor whose strides do not fit its shape")
    elements = functools.reduce(lambda product, size: min(product * size, 1 << 62), shape, 1)
    if elements > _ELEMENTS_LIMIT:
        raise PickleError(f"holds a tensor of absurd size {shape}")
    if storage.buffer is None or not elements:
        return np.empty(shape if not elements else 0, storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= storage.count:
        raise PickleError("holds a tensor that reaches beyond its storage")
    item = storage.dtype.itemsize
    return np.ndarray(
        shape,
        storage.dtype,
        buffer=storage.buffer,
        offset=storage.offset + offset * item,
        strides=tuple(stride * item for stride in strides),
    )


def _parameter(tensor, requires_grad=False, hooks=None):
    if not isinstance(tensor, np.ndarray):
        raise TypeError("a parameter that is no tensor")
    return tensor


def _size(sizes=()) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > _MOST_DIMENSIONS:
        raise TypeError("sizes that are no short list")
    return tuple(map(_whole, sizes))


def _whole(number) -> int:
    if not isinstance(number, int) or not 0 <= number < 1 << 60:
        raise TypeError("a size that is no whole number")
    return number


_FUNCTIONS = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": lambda: {},
    "torch Size": _size,
}
