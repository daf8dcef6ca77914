"""Reading and writing pictures, the same way everywhere.

Mattes and masks are read by `p3m_jax.pictures.labels`.

Whatever a file holds, a picture arrives as 8-bit RGB the right way up; what cannot be read raises
`ImageError` with one sentence that names the file.
"""

import contextlib
import errno
import io
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

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
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.files import whole_file

# A picture of 20,000 x 10,000 pixels is a decompression bomb rather than a portrait. Pillow warns
# from its own limit on and refuses twice that: ours takes the place of both.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow raises for it
_TOLD = "p3m_jax"  # where an image's `info` has what its file tells
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
    "shows only a reduced image first, as a camera's raw file does; export the whole picture as "
    "JPEG or PNG."
)


class ImageError(UserError):
    """A picture that cannot be used; the message names the file and the remedy."""


@contextlib.contextmanager
def open_picture(path) -> Iterator[Image.Image]:
    """The Pillow image of a file, its pixels not decoded yet; `ImageError` if it is no picture.

    Its metadata was taken off before Pillow saw it: `told`, `exif_of`, `orientation` and
    `loaded` know it. `path` may be a `FilePart`, here and in what reads pictures below.
    """
    part = isinstance(path, FilePart)
    path = path if part else Path(path)
    with contextlib.ExitStack() as files:
        try:
            image = _open(path, path.path if part else path, files)
        except MemoryError:
            raise
        except ImageError:
            raise
        except Exception as error:  # there is no end to what decoders raise
            raise ImageError(f"{path}: {_why_unreadable(path, error)}") from None
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{path}: has more than {MAX_PIXELS:,} pixels; shrink it first.")
        yield image


def _open(path, on_disk: Path, files: contextlib.ExitStack) -> Image.Image:
    if on_disk.exists() and not on_disk.is_file() and not on_disk.is_dir():
        raise ImageError(f"{path}: is a pipe or a device, not a picture.")  # would wait
    file = files.enter_context(path.open("rb"))
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
        # Pillow reads the EXIF data of these when it opens them, and may stumble over it.
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
    image.info["exif"] = b""  # else Pillow looks for it, and turns TIFF files by itself
    return image


def _require_whole(path, exif: Exif) -> None:
    if DNG_VERSION in exif.main or exif.number(PHOTOMETRIC) in _SENSOR_COLOURS:
        raise ImageError(f"{path}: {RAW}")
    if exif.preview:
        raise ImageError(f"{path}: {_REDUCED}")


def _why_unreadable(path, error: Exception) -> str:
    file = path.path if isinstance(path, FilePart) else path
    if isinstance(error, FileNotFoundError):
        return "is a link to nowhere." if file.is_symlink() else "there is no such file."
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a picture."
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions."
    if isinstance(error, Image.DecompressionBombError):
        return f"claims more than {MAX_PIXELS:,} pixels; shrink it first."
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "is a link that leads in a circle."
    if number == errno.ENAMETOOLONG:
        return "has a name that is too long for this system."
    with path.open("rb") as opened:
        return unidentified(opened.read(64))


def damaged(path, error: Exception) -> ImageError:
    """What to say of a picture whose pixels cannot be decoded."""
    return ImageError(f"{path}: is damaged or cut off ({error}); replace it with an intact copy.")


def told(image: Image.Image) -> Metadata:
    """What the file of an image of `open_picture` tells about its pixels."""
    return image.info[_TOLD][0]


def exif_of(image: Image.Image) -> Exif:
    """The EXIF data of an image of `open_picture`."""
    return image.info[_TOLD][1]


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image of `open_picture` as its pixels are stored."""
    if image.format == "TIFF":  # for which Pillow swaps them, or not
        height, width = exif_of(image).number(HEIGHT), exif_of(image).number(WIDTH)
        return height or image.height, width or image.width
    return image.height, image.width


def orientation(image: Image.Image) -> int:
    """The orientation of an image of `open_picture`, 1 to 8; 1 also where nothing tells it.

    EXIF's tag decides, and where there is none XMP's. HEIF files are turned when they are decoded.
    """
    if image.format == "HEIF":
        return 1
    return exif_of(image).orientation or told(image).xmp_orientation or 1


def loaded(image: Image.Image) -> Image.Image:
    """An image of `open_picture` with its pixels decoded, not turned yet."""
    told(image).check()
    image.load()
    return image


def upright(image: Image.Image) -> Image.Image:
    """An image of `open_picture`, decoded and the right way up."""
    turn = _TURNS.get(orientation(image))
    return loaded(image) if turn is None else loaded(image).transpose(turn)


def picture_size(path) -> tuple[int, int]:
    """(height, width) of a picture the right way up, from its header alone."""
    with open_picture(path) as image:
        height, width = stored_size(image)
        return (width, height) if orientation(image) >= 5 else (height, width)  # those swap axes


def largest_pixels(files: Iterable[Path | None]) -> int:
    """The pixels of the largest of some files, from their headers; what cannot be read has none."""
    pixels = [0]
    for file in files:
        with contextlib.suppress(ImageError):
            if file is not None:
                pixels.append(math.prod(picture_size(file)))
    return max(pixels)


def read_picture(path) -> np.ndarray:
    """An 8-bit RGB picture (H, W, 3), EXIF orientation applied.

    Grey, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.
    """
    with open_picture(path) as image:
        try:
            decoded = upright(image)
        except MemoryError:
            raise
        except Exception as error:  # there is no end to what decoders raise
            raise damaged(path, error) from None
        return to_rgb(decoded)


def to_rgb(image: Image.Image) -> np.ndarray:
    """The pixels of a decoded image as 8-bit RGB (H, W, 3), without its alpha channel.

    CMYK and grey go by the colour profile that the file brings for them, to sRGB; RGB keeps its
    numbers, and with them its profile's meaning.
    """
    if image.mode.startswith("I") or image.mode == "F":
        grey = _to_8_bit(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "LA":
        image = image.convert("L")  # which the profile is for
    if image.mode in ("CMYK", "L") and profile_space(image.info.get("icc_profile")) == (
        "CMYK" if image.mode == "CMYK" else "GRAY"
    ):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        try:
            image = ImageCms.profileToProfile(
                image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:  # a profile that only sounds like one
            image = image.convert("RGB")
    return np.asarray(image.convert("RGB"))


def profile_space(profile: bytes | None) -> str | None:
    """The colour space ("RGB", "CMYK", "GRAY", ...) of an ICC profile; None if it is damaged."""
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
    # Pillow hands out 16-bit grey as uint16 or int32.
    return np.clip(np.rint(values.astype(np.float64) / 257.0), 0, 255).astype(np.uint8)


def write_image(
    path,
    values: np.ndarray,
    *,
    quality: int = 95,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Writes an array (H, W), (H, W, 3) or (H, W, 4) whole or not at all.

    uint8, or uint16 (H, W) to a PNG. The format follows the ending of `path`; `quality` counts for
    JPEG and WebP, but with an alpha channel WebP is lossless and keeps colours that do not show.
    The file appears under its name only when it is complete, so that a killed run leaves no half
    picture behind.

    Raises:
      ImageError: the ending is another, or the format does not hold pictures of this size or
        this metadata.
    """
    path = Path(path)
    kind = _format(path)
    options = {"icc_profile": icc_profile, "exif": exif}
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
    elif kind == "WEBP":
        lossless = {"lossless": True, "exact": True, "quality": 50, "method": 2}  # that: of effort
        options |= lossless if values.shape[2:] == (4,) else {"quality": quality}
    longest = {"JPEG": 65500, "WEBP": 16383}.get(kind)  # libjpeg's; the format's is 65535
    if longest is not None and max(values.shape[:2]) > longest:
        raise ImageError(f"{path}: {kind} holds at most {longest} pixels a side; write PNG.")
    # Encoded in memory: Pillow's own errors do not say that a disk is full.
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
        raise ImageError(f"{path}: write pictures as .png, .jpg or .webp.") from None
