"""An index of the files inside a set's shards: built once from the shards, then stored.

TFDS writes TFRecord shards. A record is its length (uint64, little-endian), a checksum of the
length, the serialized `tf.train.Example` (protobuf), and a checksum of the serialized example.

Building the index reads only the protobuf tags and lengths, a few bytes for every file, and skips
the pictures. It verifies the checksum of every length, and that the records fill their shard
exactly. Training then reads the pictures at their positions, in any order, and verifies the
checksum of each example.
"""

import mmap
import struct
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.data.folders import DataSetError
from p3m_jax.storage.files import whole_file

_HEAD, _TAIL = 12, 4  # bytes around a record's data: its length with checksum; the data's checksum
_LENGTH_DELIMITED = 2  # the wire type of strings, bytes and messages
STEM = "stem"  # the feature that names an example


class Index(NamedTuple):
    """The positions of N examples' F features in S shards.

    Attributes:
      shards: the names of the shards; (S,) strings.
      sizes: the sizes of the shards in bytes; int64 (S,).
      features: names of an example's features, without its stem; (F,) strings.
      stems: the examples' stems, sorted; (N,) bytes.
      shard: the number of the shard that contains an example; int64 (N,).
      record: the byte of the shard at which the example's record begins; int64 (N,).
      offset, length: position of a feature's bytes in the shard; int64 (N, F). Length 0: no file.
    """

    shards: np.ndarray
    sizes: np.ndarray
    features: np.ndarray
    stems: np.ndarray
    shard: np.ndarray
    record: np.ndarray
    offset: np.ndarray
    length: np.ndarray


def read_index(file: Path, shards: list[Path]) -> Index:
    """Reads the index of `shards` from `file`, or builds it from the shards.

    It is built if `file` does not exist, or if the shards' names or sizes have changed. Then it is
    stored in `file`, unless the folder is read-only.

    Raises:
      DataSetError: a shard is missing, cut off or damaged.
    """
    names = np.array([shard.name for shard in shards])
    sizes = np.array([_size(shard) for shard in shards], np.int64)
    kept = _kept(file)
    if kept is not None and _same(kept.shards, names) and _same(kept.sizes, sizes):
        return kept
    index = index_shards(shards)
    try:
        with whole_file(file) as written:
            np.savez(written, **index._asdict())
    except OSError:  # a read-only folder: the index is built at every start
        pass
    return index


def index_shards(shards: list[Path]) -> Index:
    """Builds the index by reading the shards; raises `DataSetError` if one is damaged."""
    found = []
    for number, shard in enumerate(shards):
        try:
            found += [(stem, number, start, parts) for stem, start, parts in _examples(shard)]
        except (ValueError, IndexError, KeyError, struct.error):  # a length, tag or name is missing
            raise DataSetError(
                f"{shard}: is cut off or damaged; copy it again, or delete the folder and write "
                "the records again with `p3m records`."
            ) from None
    found.sort(key=lambda example: example[0])
    features = sorted({name for *_, parts in found for name in parts})
    pairs = [[parts.get(name, (0, 0)) for name in features] for *_, parts in found]
    places = np.array(pairs, np.int64).reshape(len(found), len(features), 2)
    return Index(
        shards=np.array([shard.name for shard in shards]),
        sizes=np.array([_size(shard) for shard in shards], np.int64),
        features=np.array(features, str),
        stems=np.array([stem for stem, *_ in found], bytes),
        shard=np.array([number for _, number, *_ in found], np.int64),
        record=np.array([start for *_, start, _ in found], np.int64),
        offset=places[..., 0],
        length=places[..., 1],
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _size(shard: Path) -> int:
    try:
        return shard.stat().st_size
    except OSError as error:
        raise DataSetError(
            f"{shard}: cannot be read ({error.strerror}); make it readable, or copy all shards of "
            "the set again."
        ) from None


def _kept(file: Path) -> Index | None:
    """Reads an index file; None if it is missing or damaged, because it can be built again."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return Index(**{name: arrays[name] for name in Index._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _examples(shard: Path) -> Iterator[tuple[bytes, int, dict[str, tuple[int, int]]]]:
    """Yields (stem, start of record, {feature: (offset, length)}) for each example of a shard.

    Raises ValueError, or an error of unpacking, if the shard is damaged.
    """
    size = _size(shard)
    if not size:
        return
    with shard.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 0
        while start < size:
            head = data[start : start + 8]
            (length,), check = struct.unpack("<Q", head), data[start + 8 : start + _HEAD]
            end = start + _HEAD + length + _TAIL
            if end > size or struct.pack("<I", masked_crc32c(head)) != check:
                raise ValueError("a record's length is wrong")
            parts = dict(_features(data, start + _HEAD, end - _TAIL))
            offset, length = parts.pop(STEM)
            yield data[offset : offset + length], start, parts
            start = end


def _features(
    data: bytes | mmap.mmap, start: int, end: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields (name, (offset, length)) for each bytes feature of a `tf.train.Example`.

    The nesting is: Example.features, Features.feature (a map: entries of key and value),
    Feature.bytes_list, BytesList.value. Each is field 1 of its message, except an entry's value,
    which is field 2.
    """
    for _, *features in _fields(data, start, end):
        for _, *entry in _fields(data, *features):
            parts = {number: place for number, *place in _fields(data, *entry)}
            (first, last), feature = parts[1], parts[2]
            for kind, *values in _fields(data, *feature):
                for _, offset, stop in _fields(data, *values) if kind == 1 else ():
                    yield data[first:last].decode(), (offset, stop - offset)


def _fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (number, start, end) for a message's fields; all are strings, bytes or messages."""
    while start < end:
        tag, start = _varint(data, start)
        length, start = _varint(data, start)
        if tag & 7 != _LENGTH_DELIMITED or start + length > end:
            raise ValueError("not the message that was expected")
        yield tag >> 3, start, start + length
        start += length


def _varint(data: bytes | mmap.mmap, start: int) -> tuple[int, int]:
    """Reads a number in protobuf's variable length; returns it and the position after it."""
    value = shift = 0
    while True:
        byte = data[start]
        value, shift, start = value | (byte & 0x7F) << shift, shift + 7, start + 1
        if byte < 0x80:
            return value, start


@cache
def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli's, reversed
        return value

    return tuple(map(entry, range(256)))


def masked_crc32c(data: bytes) -> int:
    """Computes the checksum of TFRecord: CRC-32C, rotated right by 15 bits, plus a constant."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
