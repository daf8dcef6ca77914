"""Where the files of a set of records lie in its shards: read from these once, and kept.

TFDS writes TFRecord shards: a record is its length (uint64, little-endian), a checksum of it, the
serialized `tf.train.Example`, and a checksum of that. Of the latter only the tags and lengths are
looked at here, a few bytes for every file; the pictures themselves are skipped. Training reads them
by their places, in any order, as it reads files. The checksum of every length is compared here, and
that records fill their shard to its end; the checksum of the data when training reads them.
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

_HEAD, _TAIL = 12, 4  # bytes around a record: its length and the checksum of it; its own checksum
_LENGTH_DELIMITED = 2  # the wire type of strings, bytes and messages
STEM = "stem"  # the feature that names an example


class Index(NamedTuple):
    """The places of N examples' F features in S shards.

    Attributes:
      shards: the names of the shards; (S,) strings.
      sizes: theirs in bytes; int64 (S,).
      features: names of what an example holds, but for its stem; (F,) strings.
      stems: of the examples, sorted; (N,) bytes.
      shard: which of the shards holds an example; int64 (N,).
      record: byte of it at which the example's record begins; int64 (N,).
      offset, length: of a feature's bytes in the shard; int64 (N, F). Length 0: there is none.
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
    """The index of shards, from `file` where that was made of shards of these sizes, else anew.

    One that is made anew is kept in `file` where the folder can be written to.

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
    except OSError:  # a folder that may only be read: the index is made at every start
        pass
    return index


def index_shards(shards: list[Path]) -> Index:
    """The index of shards, read from them; raises `DataSetError` where one is damaged."""
    found = []
    for number, shard in enumerate(shards):
        try:
            found += [(stem, number, start, parts) for stem, start, parts in _examples(shard)]
        except (ValueError, IndexError, KeyError, struct.error):  # no length, tag or name
            raise DataSetError(
                f"{shard}: is cut off or damaged; copy it again, or delete the folder and write "
                "the records anew with `p3m records`."
            ) from None
    found.sort(key=lambda example: example[0])
    features = sorted({name for *_, parts in found for name in parts})
    places = [[parts.get(name, (0, 0)) for name in features] for *_, parts in found]
    places = np.array(places, np.int64).reshape(len(found), len(features), 2)
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
            f"{shard}: cannot be read ({error.strerror}); copy all shards of the set again."
        ) from None


def _kept(file: Path) -> Index | None:
    """What an index file holds; None where it is missing or damaged, for it can be made anew."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return Index(**{name: arrays[name] for name in Index._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _examples(shard: Path) -> Iterator[tuple[bytes, int, dict[str, tuple[int, int]]]]:
    """Stem, start of the record, and (offset, length) by name, of every example of a shard.

    Raises ValueError, or what unpacking raises, where it is damaged.
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


def _features(data, start: int, end: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and (offset, length) of the features of one bytes value in a `tf.train.Example`.

    Its nesting is: Example.features, Features.feature (a map: entries of key and value),
    Feature.bytes_list, BytesList.value; each is field 1 of what it is in, but an entry's value 2.
    """
    for _, *features in _fields(data, start, end):
        for _, *entry in _fields(data, *features):
            parts = {number: place for number, *place in _fields(data, *entry)}
            (first, last), feature = parts[1], parts[2]
            for kind, *values in _fields(data, *feature):
                for _, offset, stop in _fields(data, *values) if kind == 1 else ():
                    yield data[first:last].decode(), (offset, stop - offset)


def _fields(data, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the fields of a message, all of them strings, bytes or messages."""
    while start < end:
        tag, start = _varint(data, start)
        length, start = _varint(data, start)
        if tag & 7 != _LENGTH_DELIMITED or start + length > end:
            raise ValueError("not the message that was expected")
        yield tag >> 3, start, start + length
        start += length


def _varint(data, start: int) -> tuple[int, int]:
    """A number in protobuf's variable length, and where it ends."""
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
    """The checksum of TFRecord: CRC-32C, rotated right by 15 bits, plus a constant."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
