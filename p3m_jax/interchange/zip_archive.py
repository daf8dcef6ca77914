"""Reads the zip archives that PyTorch writes, whose entries are uncompressed and do not overlap."""

import itertools
import mmap
import struct
import zipfile
import zlib
from typing import Any

from p3m_jax.interchange.pickle_reader import PickleError

_LARGEST_LIST = 1 << 22  # most bytes of the list of entries; real checkpoints need under 200 KB


class _Bounded:
    """An archive in memory that limits how many bytes are read from it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.left = data, _LARGEST_LIST
        self.tell = data.tell

    def seek(self, offset: int, whence: Any = 0) -> int:
        """Seeks like a file; returns the new position."""
        self.data.seek(offset, whence)
        return self.data.tell()

    def read(self, size: int = -1) -> bytes:
        """Reads like a file; raises `PickleError` at the limit."""
        size = len(self.data) - self.data.tell() if size < 0 else size
        self.left -= size
        if self.left < 0:
            raise PickleError("lists far too many entries for a checkpoint")
        return self.data.read(size)

    def seekable(self) -> bool:
        """Always true, as for files."""
        return True


def read_entries(data: mmap.mmap) -> dict[str, zipfile.ZipInfo]:
    """Returns the entries {name: entry} of a zip archive that is mapped into memory.

    Raises:
      PickleError: the archive is damaged, or has names that no checkpoint has.
    """
    try:
        with zipfile.ZipFile(_Bounded(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(f"is cut off or damaged ({error}); download the file again") from error
    entries = {}
    for entry in listed:
        if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
            raise PickleError(f"has an entry outside the archive ({entry.filename!r:.80})")
        if entry.filename in entries:
            raise PickleError(f"has two entries named {entry.filename!r:.80}")
        entries[entry.filename] = entry
    return entries


def refuse_overlaps(data: mmap.mmap, entries: dict[str, zipfile.ZipInfo]) -> None:
    """Raises `PickleError` if entries overlap, or an entry is compressed or encrypted."""
    spans = sorted(
        (entry.header_offset, start_of(data, entry) + entry.file_size) for entry in entries.values()
    )
    if any(end > begin for (_, end), (begin, _) in itertools.pairwise(spans)):
        raise PickleError("has entries that overlap")


def start_of(data: mmap.mmap, entry: zipfile.ZipInfo) -> int:
    """Returns the offset of an entry's content in the file, in bytes.

    Raises:
      PickleError: the entry is compressed, encrypted, or not completely inside the file.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise PickleError("is compressed or encrypted, which PyTorch's files are not")
    header = data[entry.header_offset : entry.header_offset + 30]
    if entry.header_offset < 0 or len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise PickleError("is damaged; download the file again")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + entry.file_size > len(data) or entry.file_size != entry.compress_size:
        raise PickleError("is cut off or damaged; download the file again")
    return start


def content_of(data: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
    """Returns the content of an entry; raises `PickleError` if its checksum is wrong."""
    start = start_of(data, entry)
    content = memoryview(data)[start : start + entry.file_size]
    if zlib.crc32(content) != entry.CRC:
        raise PickleError(
            f"has a wrong checksum ({entry.filename!r:.80}); it is damaged or was saved without "
            "checksums, so download or save the file again"
        )
    return content
