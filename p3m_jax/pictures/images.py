"""Reads and writes pictures in the same way everywhere.

A picture is always returned as upright 8-bit RGB, whatever its file holds. A file that cannot be
read raises `ImageError` with one sentence that names the file. Mattes and masks are read by
`p3m_jax.pictures.labels`.
"""

import contextlib
import errno
import io
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageCms, ImageFile

from p3m_jax.errors import UserError
from p3m_jax.pictures.containers import Metadata, orientation_of_xmp, take_apart, without_exif
from p3m_jax.pictures.exif import (
    DNG_VERSION,
    HEIGHT,
    PHOTOMETRIC,
    WIDTH,
    Exif,
    read_exif,
    read_tiff,
)
from p3m_jax.pictures.formats import RAW, formats_for, refusal, unidentified
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.files import whole_file

# A picture of 20,000 x 10,000 pixels is probably a decompression bomb, not a portrait. Pillow warns
# above its own limit and refuses above twice that limit; this limit replaces both.
MAX_PIXELS = 200_000_000

DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow raises for damage
_TOLD = "p3m_jax"  # the key in an image's `info` for the file's metadata
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SENSOR_COLOURS = (32803, 34892)  # photometric interpretations of raw files
_REDUCED = (
    "starts with a reduced image, as a camera's raw file does; export the full-size picture as "
    "JPEG or PNG."
)


class ImageError(UserError):
    """A picture that cannot be used; the message names the file and the remedy."""


@contextlib.contextmanager
def open_picture(path: StrPath | FilePart) -> Iterator[ImageFile.ImageFile]:
    """Opens a file in a `with` block, as a Pillow image whose pixels are not decoded yet.

    The file's metadata is removed before Pillow sees it. To get the metadata, call `told`,
    `exif_of` or `orientation` with the image. To decode the pixels, call `loaded` or `upright`.
    `path` may be a `FilePart` (a file within another file), here and in the functions below.

    Raises:
      ImageError: the file is not a picture that can be read, or is too large.
    """
    file = path if isinstance(path, FilePart) else Path(path)
    on_disk = file.path if isinstance(file, FilePart) else file
    with contextlib.ExitStack() as files:
        try:
            image = _open(file, on_disk, files)
        except MemoryError:
            raise
        except ImageError:
            raise
        except Exception as error:  # decoders raise exceptions of any kind
            raise ImageError(f"{file}: {_why_unreadable(file, error)}") from None
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{file}: has more than {MAX_PIXELS:,} pixels; shrink it first.")
        yield image


def _open(path: Path | FilePart, on_disk: Path, files: contextlib.ExitStack) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if on_disk.exists() and not on_disk.is_file() and not on_disk.is_dir():
        # Opening a pipe would block.
        raise ImageError(f"{path}: is a pipe or a device, not a picture.")
    file = files.enter_context(cast(BinaryIO, path.open("rb")))
    head = file.read(64)
    refused = refusal(head)
    if refused:
        raise ImageError(f"{path}: {refused}")
    pixels, metadata = take_apart(file)
    formats = formats_for(head, str(path))
    try:
        image = Image.open(pixels, formats=formats)
    except Exception:
        if formats != ("AVIF",):
            raise
        # Pillow reads the EXIF data of AVIF files when it opens them, and may fail on it.
        image = Image.open(without_exif(file), formats=formats)
    if image.format == "TIFF":
        exif = read_tiff(file)
        _require_whole(path, exif)
    else:
        metadata.exif = image.info.pop("exif", metadata.exif)
        exif = read_exif(metadata.exif)
    xmp = image.info.pop("xmp", None)
    metadata.xmp_orientation = metadata.xmp_orientation or orientation_of_xmp(xmp)
    metadata.icc_profile = image.info.get("icc_profile", metadata.icc_profile)
    image.info |= {"icc_profile": metadata.icc_profile, _TOLD: (metadata, exif)}
    image.info["exif"] = b""  # otherwise Pillow reads it from the file, and rotates TIFF files
    return image


def _require_whole(path: Path | FilePart, exif: Exif) -> None:
    if DNG_VERSION in exif.main or exif.number(PHOTOMETRIC) in _SENSOR_COLOURS:
        raise ImageError(f"{path}: {RAW}")
    if exif.preview:
        raise ImageError(f"{path}: {_REDUCED}")


def _why_unreadable(path: Path | FilePart, error: Exception) -> str:
    file = path.path if isinstance(path, FilePart) else path
    if isinstance(error, FileNotFoundError):
        return "is a broken link." if file.is_symlink() else "there is no such file."
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a picture."
    if isinstance(error, PermissionError):
        return "cannot be read; check its permissions."
    if isinstance(error, Image.DecompressionBombError):
        return f"declares more than {MAX_PIXELS:,} pixels; shrink it first."
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "is a link that leads back to itself."
    if number == errno.ENAMETOOLONG:
        return "has a name that is too long for this system."
    with path.open("rb") as opened:
        return unidentified(opened.read(64))


def damaged(path: StrPath | FilePart, error: Exception) -> ImageError:
    """Returns the error for a picture whose pixels cannot be decoded."""
    return ImageError(f"{path}: is damaged or cut off ({error}); replace it with an intact copy.")


def told(image: Image.Image) -> Metadata:
    """Returns the metadata (such as the colour profile) of an image from `open_picture`."""
    return image.info[_TOLD][0]


def exif_of(image: Image.Image) -> Exif:
    """Returns the EXIF data of an image from `open_picture`."""
    return image.info[_TOLD][1]


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Returns (height, width) of an image from `open_picture`, as its pixels are stored."""
    if image.format == "TIFF":  # Pillow swaps them for some TIFF files
        height, width = exif_of(image).number(HEIGHT), exif_of(image).number(WIDTH)
        return height or image.height, width or image.width
    return image.height, image.width


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image from `open_picture`, 1 to 8; 1 if not specified.

    If the EXIF data holds no orientation, the one in the XMP data is returned. HEIF files always
    have orientation 1 here, because decoding already rotates them.
    """
    if image.format == "HEIF":
        return 1
    return exif_of(image).orientation or told(image).xmp_orientation or 1


def loaded(image: Image.Image) -> Image.Image:
    """Decodes the pixels of an image from `open_picture` and returns the image, not rotated."""
    told(image).check()
    image.load()
    return image


def upright(image: Image.Image) -> Image.Image:
    """Decodes an image from `open_picture` and returns it rotated upright."""
    turn = _TURNS.get(orientation(image))
    return loaded(image) if turn is None else loaded(image).transpose(turn)


def picture_size(path: StrPath | FilePart) -> tuple[int, int]:
    """Returns (height, width) of the upright picture; reads only its header."""
    with open_picture(path) as image:
        height, width = stored_size(image)
        # Orientations from 5 on swap the axes.
        return (width, height) if orientation(image) >= 5 else (height, width)


def largest_pixels(files: Iterable[Path | FilePart | None]) -> int:
    """Returns the number of pixels of the largest picture; reads only the files' headers.

    Files that cannot be read, and None, count as 0 pixels.
    """
    pixels = [0]
    for file in files:
        with contextlib.suppress(ImageError):
            if file is not None:
                pixels.append(math.prod(picture_size(file)))
    return max(pixels)


def read_picture(path: StrPath | FilePart) -> np.ndarray:
    """Reads a picture as 8-bit RGB (H, W, 3), rotated as its metadata specifies.

    Grey, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.
    """
    with open_picture(path) as image:
        try:
            decoded = upright(image)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise exceptions of any kind
            raise damaged(path, error) from None
        return to_rgb(decoded)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a decoded image to 8-bit RGB (H, W, 3), without its alpha channel.

    CMYK and grey pictures are converted to sRGB with the file's colour profile, if it has a
    suitable one. RGB values are not changed, so the file's profile still applies to them.
    """
    if image.mode.startswith("I") or image.mode == "F":
        grey = _to_8_bit(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "LA":
        image = image.convert("L")  # the profile describes grey without alpha
    if image.mode in ("CMYK", "L") and profile_space(image.info.get("icc_profile")) == (
        "CMYK" if image.mode == "CMYK" else "GRAY"
    ):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        try:
            made = ImageCms.profileToProfile(
                image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            image = cast(Image.Image, made)  # None only if the image is changed in place
        except ImageCms.PyCMSError:  # the profile is unusable despite its colour space
            image = image.convert("RGB")
    return np.asarray(image.convert("RGB"))


def profile_space(profile: bytes | None) -> str | None:
    """Returns an ICC profile's colour space ("RGB", "CMYK", "GRAY", ...); None if damaged."""
    if not profile:
        return None
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, *DAMAGE):
        return None


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    # Pillow returns 16-bit grey as uint16 or int32.
    return np.clip(np.rint(values.astype(np.float64) / 257.0), 0, 255).astype(np.uint8)


def write_image(
    path: StrPath,
    values: np.ndarray,
    *,
    quality: int = 95,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Writes an array (H, W), (H, W, 3) or (H, W, 4) to a picture file atomically.

    The array is uint8; a PNG may also be written from uint16 (H, W). The ending of `path` decides
    the format. `quality` applies to JPEG and WebP, except that WebP with an alpha channel is
    lossless and keeps the colours of transparent pixels. The file appears under its name only when
    it is complete, so a killed run leaves no partial picture.

    Raises:
      ImageError: the ending is not supported, or the format cannot hold a picture of this size or
        this metadata.
    """
    path = Path(path)
    kind = _format(path)
    options: dict[str, Any] = {"icc_profile": icc_profile, "exif": exif}
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
    elif kind == "WEBP":
        # For lossless files "quality" and "method" are the effort spent on compression.
        lossless = {"lossless": True, "exact": True, "quality": 50, "method": 2}
        options |= lossless if values.shape[2:] == (4,) else {"quality": quality}
    longest = {"JPEG": 65500, "WEBP": 16383}.get(kind)  # libjpeg's limit; JPEG allows 65535
    if longest is not None and max(values.shape[:2]) > longest:
        raise ImageError(f"{path}: {kind} allows at most {longest} pixels per side; write PNG.")
    # Encoded in memory, because Pillow's own errors do not say that a disk is full.
    encoded = io.BytesIO()
    options = {name: value for name, value in options.items() if value is not None}
    try:
        Image.fromarray(values).save(encoded, format=kind, **options)
    except (ValueError, OSError) as error:
        raise ImageError(f"{path}: cannot be written as {kind} ({error}); write PNG.") from None
    with whole_file(path) as file:
        file.write(encoded.getbuffer())


def _format(path: Path) -> str:
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    try:
        return formats[path.suffix.lower()]
    except KeyError:
        raise ImageError(f"{path}: pictures must be written as .png, .jpg or .webp.") from None
