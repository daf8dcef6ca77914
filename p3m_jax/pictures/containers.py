"""Separates the pixel data of JPEG and PNG files from their metadata.

Pillow reads a file's metadata when it opens the file, and refuses the picture if any of it is
damaged or unexpectedly large. So Pillow sees only the parts of a JPEG or PNG file that are needed
to decode the pixels. This module reads the metadata about colours and orientation itself, one item
at a time, so that a damaged item does not affect the others.
"""

import io
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, BinaryIO

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MOST = 32 << 20  # largest uncompressed size of a profile or EXIF block, in bytes
_TOLD = {b"acTL", b"cHRM", b"cICP", b"eXIf", b"gAMA", b"iCCP", b"iTXt", b"sRGB", b"tEXt", b"zTXt"}
_PLAIN_TEXT = 1 << 20  # largest text that is searched for an orientation, in bytes
_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_AVIF_EXIF = re.compile(rb"(infe[\x02\x03].{7,9})Exif", re.DOTALL)  # the entry of an EXIF item
_NCLX = re.compile(rb"colrnclx(....)", re.DOTALL)


@dataclass
class Metadata:
    """A file's metadata about its pixels.

    Attributes:
      exif: the EXIF block.
      xmp_orientation: the orientation in the XMP data, 1 to 8. Some programs write it there instead
        of in EXIF data.
      icc_profile: the colour profile, which may be damaged.
      cicp: the code numbers of the primaries and the transfer function in ITU-T H.273.
      srgb: whether the file declares its colours to be sRGB.
      gamma: the exponent that encoded the colours, such as 0.45455.
      chromaticities: x and y of white, red, green and blue.
      frames: the number of frames; more than 1 for an animation.
      check: raises SyntaxError if a checksum of the pixel data is wrong.
    """

    exif: bytes | None = None
    xmp_orientation: int | None = None
    icc_profile: bytes | None = None
    cicp: tuple[int, int] | None = None
    srgb: bool = False
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    frames: int = 1
    check: Callable[[], None] = field(default=lambda: None)


def take_apart(file: BinaryIO) -> tuple[BinaryIO, Metadata]:
    """Splits a JPEG or PNG into a file with only the pixel data, and its metadata.

    Files of other formats are returned unchanged. Their metadata is empty, except for the colours
    of AVIF and HEIF files.
    """
    file.seek(0)
    head = file.read(8)
    if head.startswith(JPEG_START):
        return _take_jpeg_apart(file)
    if head == PNG_START:
        return _take_png_apart(file)
    metadata = Metadata()
    if head[4:8] == b"ftyp":
        told = _NCLX.search(file.read(1 << 16))
        metadata.cicp = struct.unpack(">HH", told[1]) if told else None
    file.seek(0)
    return file, metadata


def orientation_of_xmp(xmp: object) -> int | None:
    """Reads the orientation in XMP data (bytes), 1 to 8; None if missing or `xmp` is not bytes."""
    told = _ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
    return int(told[1]) if told else None


def without_exif(file: BinaryIO) -> BinaryIO:
    """Copies an AVIF file so that readers ignore the EXIF data in the copy.

    The EXIF data is kept, but its type is changed.
    """
    file.seek(0)
    return io.BytesIO(_AVIF_EXIF.sub(rb"\1none", file.read()))


def _take_jpeg_apart(file: BinaryIO) -> tuple[BinaryIO, Metadata]:
    metadata, parts, profile = Metadata(), [(0, 2)], []
    place = 2
    while True:
        file.seek(place)
        head = file.read(4)
        if head[:2] == b"\xff\xff":  # fill bytes may precede a marker
            place += 1
            continue
        marker = head[1] if len(head) == 4 and head[0] == 0xFF else 0
        length = int.from_bytes(head[2:])
        # The decoder needs everything from the start of the pixels, or from anything that is not a
        # segment, to the end of the file.
        if marker in (0, 0x01, 0xDA) or 0xD0 <= marker <= 0xD9 or length < 2:
            break
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            content = file.read(length - 2)
            if _decides_about_colours(marker, content):
                parts.append((place, place + 2 + length))
            elif marker == 0xE1 and content.startswith(b"Exif\0\0"):
                metadata.exif = (metadata.exif or b"Exif\0\0") + content[6:]
            elif marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                metadata.xmp_orientation = orientation_of_xmp(content)
            elif marker == 0xE2 and content.startswith(b"ICC_PROFILE\0"):
                # A long profile is split into numbered segments.
                profile.append((content[12:13], content[14:]))
        else:
            parts.append((place, place + 2 + length))
        place += 2 + length
    if profile:
        metadata.icc_profile = b"".join(content for _, content in sorted(profile))
    return _only(file, [*parts, (place, _size(file))]), metadata


def _decides_about_colours(marker: int, content: bytes) -> bool:
    """Whether a decoder uses this segment to determine a JPEG's colour space."""
    jfif = marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14
    return jfif or (marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12)


def _take_png_apart(file: BinaryIO) -> tuple[BinaryIO, Metadata]:
    metadata, parts, place = Metadata(), [(0, len(PNG_START))], len(PNG_START)
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        end = place + 12 + length
        # A capital first letter marks chunks that a decoder must know. tRNS is the only other chunk
        # that changes pixels.
        if not kind[0] & 32 or kind == b"tRNS" or not kind.isalpha():
            parts.append((place, end))
        elif kind in _TOLD and length <= _MOST:
            content, checksum = file.read(length), file.read(4)
            if zlib.crc32(kind + content) == int.from_bytes(checksum) and len(checksum) == 4:
                _tell(metadata, kind, content)
        if kind == b"IEND" or not kind.isalpha():
            break
        place = end
    metadata.check = lambda: _check_png(file, parts[1:])
    return _only(file, parts), metadata


def _tell(metadata: Metadata, kind: bytes, content: bytes) -> None:
    """Stores the contents of a PNG's chunk in `metadata`.

    Only the first EXIF block and the first colour profile are used.
    """
    if kind == b"eXIf" and metadata.exif is None:
        metadata.exif = content
    elif kind == b"iCCP" and metadata.icc_profile is None:
        packed = content[content.find(b"\0") + 2 :]
        metadata.icc_profile = _unpacked(packed) or packed  # a damaged profile is warned about
    elif kind == b"cICP" and len(content) == 4:
        metadata.cicp = content[0], content[1]
    elif kind == b"sRGB":
        metadata.srgb = True
    elif kind == b"gAMA" and len(content) == 4:
        metadata.gamma = int.from_bytes(content) / 100_000
    elif kind == b"cHRM" and len(content) == 32:
        metadata.chromaticities = tuple(n / 100_000 for n in struct.unpack(">8I", content))
    elif kind == b"acTL" and len(content) == 8:
        metadata.frames = max(1, int.from_bytes(content[:4]))
    elif content.startswith(b"XML:com.adobe.xmp\0") and len(content) <= _PLAIN_TEXT:
        metadata.xmp_orientation = orientation_of_xmp(content)
    elif content.startswith(b"Raw profile type exif\0") and metadata.exif is None:
        metadata.exif = _exif_of_text(kind, content)


def _exif_of_text(kind: bytes, content: bytes) -> bytes:
    """Returns EXIF data that older programs wrote into a PNG as text.

    The text holds a name, a length, and lines of hexadecimal digits.
    """
    text = content.partition(b"\0")[2]
    plain = _unpacked(text[1:]) if kind == b"zTXt" else text
    digits = b"".join((plain or b"").split()[2:])
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""  # not None, so that no later text is decompressed


def _unpacked(packed: bytes) -> bytes | None:
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, _MOST)
    except zlib.error:
        return None
    return content if unpacking.eof else None


def _check_png(file: BinaryIO, parts: list[tuple[int, int]]) -> None:
    for start, end in parts:
        file.seek(start + 4)
        left, checksum = end - start - 8, 0
        while left > 0:
            block = file.read(min(left, 1 << 20))
            if not block:
                return  # the file is cut off; decoding reports that
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        told = file.read(4)
        if len(told) == 4 and told != checksum.to_bytes(4):
            raise SyntaxError("wrong checksum of a chunk")


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _only(file: BinaryIO, parts: list[tuple[int, int]]) -> BinaryIO:
    return io.BufferedReader(_Parts(file, parts))


class _Parts(io.RawIOBase):
    """Several parts of a file, read as if they followed each other.

    Each part is a pair of byte offsets: its start and its end.
    """

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int]]) -> None:
        self._file, self._parts, self._place = file, parts, 0
        self._starts = [0, *accumulate(end - start for start, end in parts)]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:  # a writeable buffer of any type
        number = bisect_right(self._starts, self._place) - 1
        if number >= len(self._parts):
            return 0
        start, end = self._parts[number]
        start += self._place - self._starts[number]
        self._file.seek(start)
        content = self._file.read(min(len(buffer), end - start))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
