"""Writes valid and invalid PyTorch checkpoint files without PyTorch, for tests."""

import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

STORAGES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16"}
STORAGES |= {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte"}
STORAGES |= {"bool": "Bool"}
LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})


class Tensor(NamedTuple):
    """A view of a storage (one-dimensional array); sizes, offset and strides in elements."""

    storage: np.ndarray
    offset: int
    shape: tuple
    strides: tuple


class Raw(NamedTuple):
    """Pickle instructions that are written unchanged."""

    code: bytes


class Settings(NamedTuple):
    """Stands for an argparse.Namespace with the attributes `values`."""

    values: dict


class Pickler:
    """Pickles values, and collects the storages of their tensors."""

    def __init__(self, legacy: bool = False):
        self.legacy = legacy
        self.storages: list[np.ndarray] = []

    def dump(self, value: Any) -> bytes:
        """Returns a complete pickle of `value`."""
        return b"\x80\x02" + self.code(value) + b"."

    def code(self, value: Any) -> bytes:
        """Returns the instructions that push `value`."""
        match value:
            case Raw():
                return value.code
            case None | True | False:
                return {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int():
                digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
                return b"\x8a" + bytes([len(digits)]) + digits
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                text = value.encode()
                return b"X" + struct.pack("<I", len(text)) + text
            case Tensor():
                return self.tensor(value)
            case Settings():
                return b"cargparse\nNamespace\n)\x81" + self.code(value.values) + b"b"
            case tuple():
                return b"(" + b"".join(map(self.code, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.code, value)) + b"e"
            case dict():
                items = (self.code(key) + self.code(item) for key, item in value.items())
                return b"ccollections\nOrderedDict\n)R(" + b"".join(items) + b"u"
            case np.ndarray():
                assert value.flags.c_contiguous
                strides = tuple(stride // value.itemsize for stride in value.strides)
                return self.tensor(Tensor(value.reshape(-1), 0, value.shape, strides))
        raise TypeError(type(value))

    def tensor(self, tensor: Tensor) -> bytes:
        """Returns the instructions that call PyTorch's function that rebuilds a tensor."""
        address = tensor.storage.__array_interface__["data"][0]
        known = [s.__array_interface__["data"][0] for s in self.storages]
        if address not in known or not tensor.storage.size:
            self.storages.append(tensor.storage)
            known.append(address)
        kind = STORAGES[str(tensor.storage.dtype)]
        identity = [
            self.code("storage"),
            f"ctorch\n{kind}Storage\n".encode(),
            self.code(str(known.index(address))),
            self.code("cpu"),
            self.code(tensor.storage.size),
            b"N" if self.legacy else b"",
        ]
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n((" + b"".join(identity) + b"tQ"
            + b"".join(map(self.code, tensor[1:]))
            + b"\x89ccollections\nOrderedDict\n)RtR"
        )  # fmt: skip


def write_zip(path, value, *, compress=False, byteorder="little", change=None) -> None:
    """Writes PyTorch's current container; `change` may alter its files, {name: bytes}, before."""
    pickler = Pickler()
    files = {"weights/data.pkl": pickler.dump(value), "weights/byteorder": byteorder.encode()}
    files |= {f"weights/data/{i}": s.tobytes() for i, s in enumerate(pickler.storages)}
    files["weights/version"] = b"3\n"
    if change:
        change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else 0) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_legacy(path, value, head=LEGACY_HEAD, keys=None) -> None:
    """Writes PyTorch's legacy container; `keys` replaces the list of storages if given."""
    pickler = Pickler(legacy=True)
    described = pickler.dump(value)
    with path.open("wb") as file:
        for part in head:
            file.write(Pickler().dump(part))
        file.write(described)
        listed = [str(i) for i in range(len(pickler.storages))]
        file.write(Pickler().dump(listed if keys is None else keys))
        for storage in pickler.storages:
            file.write(struct.pack("<q", storage.size) + storage.tobytes())


def storage_of(kind=b"ctorch\nFloatStorage\n", key="0", count=4):
    """Returns instructions that push a storage of `count` elements."""
    code = Pickler().code
    return b"(" + code("storage") + kind + code(key) + code("cpu") + code(count) + b"tQ"


def rebuilt(storage):
    """Returns instructions that push a tensor with four elements of a storage."""
    arguments = b"".join(map(Pickler().code, (0, (4,), (1,), False)))
    return Raw(b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + arguments + b"}tR")
