"""Decides which picture formats are read, by a file's contents and by its name.

Only formats on an allow-list are opened. Pillow supports many more. But for some it runs other
programs (PostScript), or returns the small preview instead of the picture (camera raw files).
"""

import functools
import importlib.util
from pathlib import Path

from PIL import Image

# Pillow's names. Its JPEG includes MPO; only the first picture of an MPO file is read.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "AVIF")
_BY_ENDING = {".tga": "TGA"}  # TGA files cannot be recognised by their first bytes
_HEIF = "HEIF"

JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")
_ENDINGS = (
    *(*JPEG_ENDINGS, ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
    *(".jp2", ".ppm", ".avif", ".tga"),
)
_HEIF_ENDINGS = (".heic", ".heif", ".hif")
_RAW_ENDINGS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"),
    *(".srw", ".x3f"),
)
_OTHER_ENDINGS = (".jxl", ".psd")  # certainly pictures, but not supported

RAW = (
    "is a camera's raw file, which is not supported; export it as JPEG, PNG or TIFF with the "
    "camera maker's or another raw program."
)
HEIC = (
    "is HEIC; to read it, install the optional package for it (python -m pip install -e "
    '".[heif]"), or convert it to JPEG.'
)
_UNKNOWN = "is not a picture that can be read; convert it to JPEG or PNG."
_NOT_READ = "is {}, which is not supported; save it as JPEG or PNG."

_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
_OTHER_STARTS = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}


@functools.cache
def reads_heif() -> bool:
    """Whether the package for HEIC and HEIF is installed; if so, registers it with Pillow."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def formats_for(head: bytes, name: str) -> tuple[str, ...]:
    """Returns Pillow's names of the formats to try for a file.

    `head` is the first 64 bytes of the file, and `name` is its name.
    """
    ending = Path(name).suffix.lower()
    if ending in _BY_ENDING:
        return _known((*_FORMATS, _BY_ENDING[ending]))
    brands = _brands(head)
    if brands & _AVIF_BRANDS:
        return _known(("AVIF",))
    if brands & _HEIF_BRANDS:
        return (_HEIF,) if reads_heif() else ()
    return _known(_FORMATS)


@functools.cache
def _known(formats: tuple[str, ...]) -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)  # Pillow may lack AVIF


def _brands(head: bytes) -> set[bytes]:
    """Returns the brands of a file in ISO base media format (HEIC, AVIF, CR3 and videos)."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4]), len(head))
    return {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}


def refusal(head: bytes) -> str | None:
    """Returns why a file that starts with the bytes `head` is refused; None if it may be opened.

    The reason is the rest of a sentence that starts with the file's name.
    """
    if head.startswith(_RAW_STARTS) or head[8:10] == b"CR" or b"crx " in _brands(head):
        return RAW
    kinds = (kind for start, kind in _OTHER_STARTS.items() if head.startswith(start))
    kind = next(kinds, None)
    return None if kind is None else _NOT_READ.format(kind)


def unidentified(head: bytes) -> str:
    """Returns the error for a file that fits none of the formats.

    The error is the rest of a sentence that starts with the file's name.
    """
    if not head:
        return "is empty; it is not a picture that can be read."
    if _brands(head) & _HEIF_BRANDS:
        return "is HEIC but cannot be read; convert it to JPEG." if reads_heif() else HEIC
    return _UNKNOWN


def endings() -> tuple[str, ...]:
    """Returns the file name endings of the pictures that are read in folders."""
    return _ENDINGS + _HEIF_ENDINGS if reads_heif() else _ENDINGS


def unread_picture(name: str) -> str | None:
    """Returns the reason why pictures with this file name are not read.

    Returns None if they are read, or if the name is not that of a picture. The reason is the rest
    of a sentence that starts with the file's name.
    """
    ending = Path(name).suffix.lower()
    if ending in _RAW_ENDINGS:
        return RAW
    if ending in _HEIF_ENDINGS and not reads_heif():
        return HEIC
    return _NOT_READ.format(ending) if ending in _OTHER_ENDINGS else None
