"""Writes rare and damaged metadata for tests, byte by byte because no library writes it."""

import io
import random
import struct
import zlib

from PIL import Image

# {TIFF type: bytes per value}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}
ORIENTATION = 0x0112


def short(number: int, order: str = "<") -> tuple[int, bytes]:
    """Returns the type and the bytes of a tag's value, a 16-bit integer."""
    return 3, struct.pack(f"{order}H", number)


def directory(tags: dict[int, tuple[int, bytes]], start: int, order: str = "<") -> bytes:
    """Returns a TIFF directory followed by its values, to be placed at byte `start` of a block.

    `tags` is {tag number: (type, value)}; `order` is the byte order, as in `struct`.
    """
    table, data = struct.pack(f"{order}H", len(tags)), b""
    free = start + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        table += struct.pack(f"{order}HHI", tag, kind, len(value) // SIZES[kind])
        if len(value) > 4:
            table += struct.pack(f"{order}I", free + len(data))
            data += value
        else:
            table += value.ljust(4, b"\0")
    return table + bytes(4) + data


def exif(main, inner=None, interoperability=None, order: str = "<") -> bytes:
    """Returns an EXIF block without the leading "Exif" mark.

    `main`, `inner` and `interoperability` are tags as in `directory`.
    """
    main, inner = dict(main), dict(inner or {})
    block = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    place = 8 + len(directory({**main, 0x8769: (4, bytes(4))}, 8))
    if interoperability:
        inner[0xA005] = 4, struct.pack(f"{order}I", place)
        below = directory(interoperability, place, order)
        place += len(below)
    else:
        below = b""
    if inner:
        main[0x8769] = 4, struct.pack(f"{order}I", place)
        return block + directory(main, 8, order) + below + directory(inner, place, order)
    return block + directory(main, 8, order)


def random_exif(chance: random.Random, orientation: int) -> bytes:
    """Returns an EXIF block with a directory of random tags, one of which is the orientation."""
    order = chance.choice("<>")
    known = (0x010F, 0x013B, 0x011A, 0x8769, 0x8825, 0x9204, 0x927C, 0xA005, 0x0201, 0x014A)
    counts = (0, 1, 2, 8, 70_000, 2**32 - 1)
    entries = [
        struct.pack(
            f"{order}HHII",
            chance.choice((*known, chance.randrange(0x0113, 1 << 16))),
            chance.choice((*range(14), 129, 60_000)),
            chance.choice(counts),
            chance.choice((0, 8, chance.randrange(400), chance.randrange(1 << 32))),
        )
        for _ in range(chance.randrange(10))
    ]
    upright = struct.pack(f"{order}HHIHH", ORIENTATION, 3, 1, orientation, 0)
    entries.insert(chance.randrange(len(entries) + 1), upright)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return head + b"".join(entries) + chance.randbytes(chance.randrange(200))


def jpeg(image: Image.Image, *segments: tuple[int, bytes]) -> bytes:
    """Returns a JPEG file with `segments` (marker, content) at its start."""
    encoded = encode(image, "JPEG", quality=98, subsampling=0)
    made = (b"\xff" + bytes([m]) + struct.pack(">H", len(c) + 2) + c for m, c in segments)
    return encoded[:2] + b"".join(made) + encoded[2:]


def png(image: Image.Image, *chunks: tuple[bytes, bytes], wrong: tuple[bytes, ...] = ()) -> bytes:
    """Returns a PNG file with `chunks` (name, content) before its pixels.

    The chunks whose names are in `wrong` have wrong checksums.
    """
    encoded = encode(image, "PNG")
    made = b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) ^ (name in wrong))
        for name, content in chunks
    )
    return encoded[:33] + made + encoded[33:]  # after the signature and IHDR


def encode(image: Image.Image, format: str, **options) -> bytes:
    """Returns the bytes of the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
