"""Reads EXIF data tag by tag, and writes a new block of the tags that are copied to outputs.

EXIF is laid out like a TIFF file, in directories of tags. Each tag has a type, a count and a value.
Many cameras and programs write blocks that no reader accepts as a whole. So tags are read one by
one, and a damaged tag is left out without affecting the others. Values are kept as raw bytes.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

WIDTH, HEIGHT, ORIENTATION = 0x0100, 0x0101, 0x0112
PHOTOMETRIC, DNG_VERSION = 0x0106, 0xC612
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _PAGES_INSIDE = 0x00FE, 0x00FF, 0x014A
_MOST_PAGES = 16  # how many pages inside another page are examined
_INNER, _PLACES, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_COLOUR_SPACE, _INTEROPERABILITY_INDEX = 0xA001, 0x0001
_ADOBE_RGB, _UNCALIBRATED = 2, 0xFFFF

# Tags that describe the pixel layout of a TIFF file, its thumbnail, and blocks other than EXIF.
# They would be wrong in another file, so they are never copied. The same holds for the two sizes in
# the inner directory, which describe the picture as it was stored.
_LAYOUT = frozenset(
    {
        *range(0x00FE, 0x010E),
        *(0x0111, 0x0112, 0x0115, 0x0116, 0x0117, 0x0118, 0x0119, 0x011C, 0x0120, 0x0121),
        *(0x013D, 0x0140, 0x0142, 0x0143, 0x0144, 0x0145, 0x014A, 0x0152, 0x0153, 0x015B),
        *range(0x0200, 0x020A),
        *(0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x83BB, 0x8649, 0x8773, 0x935C),
        *(0xA002, 0xA003),
    }
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_WHOLE_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_LONG_SIZES = {16: 8, 17: 8, 18: 8}  # of BigTIFF
_MOST = 16 << 20  # largest total size of the values in bytes; no camera writes that much


class Tag(NamedTuple):
    """A tag's type and its value, as bytes in the byte order of its block."""

    type: int
    value: bytes


Directory = dict[int, Tag]


@dataclass
class Exif:
    """The contents of an EXIF block.

    Attributes:
      order: the byte order in the notation of `struct`: "<" or ">".
      main: the tags of the main directory, such as the camera and the orientation.
      inner: the tags of the EXIF directory, such as the exposure.
      places: the tags of the GPS directory.
      interoperability: the tags of the interoperability directory.
      preview: whether the first page of a TIFF file is not the full picture: it is marked as a
        reduced image, or a page inside it is wider.
      unreadable: whether not even the main directory can be read.
      damaged: whether some tags cannot be read.
    """

    order: str = "<"
    main: Directory = field(default_factory=dict)
    inner: Directory = field(default_factory=dict)
    places: Directory = field(default_factory=dict)
    interoperability: Directory = field(default_factory=dict)
    preview: bool = False
    unreadable: bool = False
    damaged: bool = False

    def number(self, tag: int) -> int | None:
        """Returns a tag's value in the main directory; None if it is not a single whole number."""
        return _number(self.main.get(tag), self.order)

    def numbers(self, tag: int) -> list[int]:
        """Returns all values of a tag in the main directory; empty if not whole numbers."""
        kind, value = self.main.get(tag, Tag(4, b""))
        size = _WHOLE_SIZES.get(kind, len(value) + 1)
        starts = range(0, len(value) - size + 1, size)
        return [_whole(value[start : start + size], self.order) for start in starts]

    @property
    def orientation(self) -> int | None:
        """The orientation, 1 to 8; None if the block does not hold one."""
        number = self.number(ORIENTATION)
        return number if number in range(1, 9) else None

    @property
    def adobe_rgb(self) -> bool:
        """Whether the block declares Adobe RGB.

        Cameras declare it by the interoperability index R03 of the DCF standard. Other programs set
        the colour space tag to 2.
        """
        index = self.interoperability.get(_INTEROPERABILITY_INDEX, Tag(2, b"")).value
        space = _number(self.inner.get(_COLOUR_SPACE), self.order)
        return space == _ADOBE_RGB or (index[:3] == b"R03" and space in (None, _UNCALIBRATED))

    @property
    def uncalibrated(self) -> bool:
        """Whether the block declares a colour space that is not a standard one."""
        return _number(self.inner.get(_COLOUR_SPACE), self.order) == _UNCALIBRATED

    def kept(self) -> bytes | None:
        """Writes a new block without orientation, sizes and thumbnail; None if no tags remain."""
        interoperability = _written(self.interoperability, {}, self.order)
        inner = _written(self.inner, {_INTEROPERABILITY: interoperability}, self.order)
        places = _written(self.places, {}, self.order)
        main = _written(self.main, {_INNER: inner, _PLACES: places}, self.order)
        if main is None:
            return None
        mark = b"II" if self.order == "<" else b"MM"
        return b"Exif\0\0" + mark + struct.pack(f"{self.order}HI", 42, 8) + main(8)


def read_exif(block: bytes | None) -> Exif:
    """Reads an EXIF block, with or without its "Exif" header. None is read as an empty block."""
    if block is None:
        return Exif()
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return read_tiff(io.BytesIO(block)) if block else Exif()


def read_tiff(file: BinaryIO) -> Exif:
    """Reads the tags of the first page of a TIFF or BigTIFF file as an `Exif`."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return Exif(unreadable=True)
    long = struct.unpack(f"{order}H", head[2:4])[0] == 43 and len(head) == 16
    start = struct.unpack(f"{order}Q", head[8:])[0] if long else _whole(head[4:8], order)
    reader = _Reader(file, order, long)
    main = reader.directory(start)
    if main is None:
        return Exif(order, unreadable=True)
    exif = Exif(order, main)
    exif.inner = reader.below(exif.main, _INNER)
    exif.places = reader.below(exif.main, _PLACES)
    exif.interoperability = reader.below(exif.inner, _INTEROPERABILITY)
    exif.damaged = reader.damaged
    exif.preview = _is_preview(exif, reader)
    return exif


def _is_preview(exif: Exif, reader: "_Reader") -> bool:
    if (exif.number(_SUBFILE_TYPE) or 0) & 1 or exif.number(_OLD_SUBFILE_TYPE) == 2:
        return True
    width = exif.number(WIDTH)
    inside = (reader.directory(start) or {} for start in exif.numbers(_PAGES_INSIDE)[:_MOST_PAGES])
    widths = (_number(page.get(WIDTH), exif.order) for page in inside)
    return width is not None and any(other is not None and other > width for other in widths)


class _Reader:
    def __init__(self, file: BinaryIO, order: str, long: bool) -> None:
        self._file, self._order, self._long = file, order, long
        self._sizes = _SIZES | _LONG_SIZES if long else _SIZES
        self._left = _MOST
        self.damaged = False

    def below(self, directory: Directory, tag: int) -> Directory:
        """Returns the directory that a tag points to; removes the tag from `directory`."""
        if tag not in directory:
            return {}
        start = _number(directory.pop(tag), self._order)
        found = None if start is None else self.directory(start)
        self.damaged |= found is None
        return found or {}

    def directory(self, start: int) -> Directory | None:
        """Reads the readable tags of the directory at offset `start`; None if there is none."""
        count_size, entry_size, inline = (8, 20, 8) if self._long else (2, 12, 4)
        told = self._at(start, count_size)
        if told is None or start < 8:
            return None
        count = min(_whole(told, self._order), 0xFFFF)
        self._file.seek(start + count_size)
        entries = self._file.read(count * entry_size)
        whole = len(entries) // entry_size
        self.damaged |= whole < count
        if count and not whole:
            return None
        tags = {}
        for place in range(0, whole * entry_size, entry_size):
            entry = entries[place : place + entry_size]
            tag, kind = struct.unpack(f"{self._order}HH", entry[:4])
            length = self._sizes.get(kind, 0) * _whole(entry[4:-inline], self._order)
            if tag in tags:
                continue
            if 0 < length <= inline:
                tags[tag] = Tag(kind, entry[-inline:][:length])
            elif tag in _LAYOUT and tag != _PAGES_INSIDE:  # not needed, and may be long
                continue
            elif length:
                value = self._value(_whole(entry[-inline:], self._order), length)
                if value is not None:
                    tags[tag] = Tag(kind, value)
            elif kind not in self._sizes:
                self.damaged = True
        return None if count and not tags and self.damaged else tags

    def _value(self, start: int, length: int) -> bytes | None:
        if length > self._left:
            self.damaged = True
            return None
        self._left -= length
        value = self._at(start, length)
        self.damaged |= value is None
        return value

    def _at(self, start: int, length: int) -> bytes | None:
        try:
            self._file.seek(start)
        except (OSError, OverflowError, ValueError):
            return None
        value = self._file.read(length)
        return value if len(value) == length else None


def _written(directory: Directory, below: dict, order: str) -> Callable[[int], bytes] | None:
    """Returns a function that encodes a directory and all directories below it.

    The function's argument is the offset at which the directory will be. `below` maps each tag that
    points to a directory to such a function. The result is None if there are no tags to write.
    """
    tags = {
        tag: value
        for tag, value in directory.items()
        if tag not in _LAYOUT and value.type in _SIZES  # the types of BigTIFF are left out
    }
    pointers = {tag: write for tag, write in below.items() if write is not None}
    if not tags and not pointers:
        return None

    def write(start: int) -> bytes:
        numbers = sorted({*tags, *pointers})
        table, data = struct.pack(f"{order}H", len(numbers)), b""
        free = start + 2 + 12 * len(numbers) + 4
        for tag in numbers:
            if tag in pointers:
                data += bytes(len(data) % 2)
                table += struct.pack(f"{order}HHII", tag, 4, 1, free + len(data))
                data += pointers[tag](free + len(data))
                continue
            kind, value = tags[tag]
            table += struct.pack(f"{order}HHI", tag, kind, len(value) // _SIZES[kind])
            if len(value) <= 4:
                table += value.ljust(4, b"\0")
            else:
                data += bytes(len(data) % 2)
                table += struct.pack(f"{order}I", free + len(data))
                data += value
        return table + bytes(4) + data

    return write


def _number(tag: Tag | None, order: str) -> int | None:
    """Returns the single whole number that a tag holds, or None."""
    if tag is None or len(tag.value) != _WHOLE_SIZES.get(tag.type):
        return None
    return _whole(tag.value, order)


def _whole(value: bytes, order: str) -> int:
    return int.from_bytes(value, "little" if order == "<" else "big")
