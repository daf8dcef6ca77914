"""Reading and writing pictures, the same way everywhere; `p3m_jax.labels` reads mattes and masks.

Whatever a file holds, a picture arrives as 8-bit RGB the right way up; what cannot be read raises
`ImageError` with one sentence that names the file.
"""

import errno
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from p3m_jax.errors import UserError
from p3m_jax.file_part import FilePart
from p3m_jax.files import whole_file

# A picture of 20,000 x 10,000 pixels is a decompression bomb rather than a portrait. Pillow warns
# from its own limit on and refuses twice that: ours takes the place of both.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# What Pillow raises for damaged files, their EXIF included.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class ImageError(UserError):
    """A picture that cannot be used; the message names the file and the remedy."""


def open_picture(path) -> Image.Image:
    """The Pillow image of a file, its pixels not decoded yet; `ImageError` if it is no picture.

    `path` may be a `FilePart`, here and in what reads pictures below.
    """
    part = isinstance(path, FilePart)
    path = path if part else Path(path)
    file = path.path if part else path
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise ImageError(f"{path}: is a pipe or a device, not a picture.")  # would wait
        image = Image.open(path.open("rb") if part else path)
    except FileNotFoundError:
        state = "is a link to nowhere" if file.is_symlink() else "there is no such file"
        raise ImageError(f"{path}: {state}.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not a picture.") from None
    except PermissionError:
        raise ImageError(f"{path}: may not be read; check its permissions.") from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path}: claims more than {MAX_PIXELS:,} pixels; shrink it first."
        ) from None
    except ImageError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # there is no end to what decoders raise
        raise ImageError(f"{path}: {_why_unreadable(path, error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{path}: has more than {MAX_PIXELS:,} pixels; shrink it first.")
    return image


def _why_unreadable(path: Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "is a link that leads in a circle."
    if number == errno.ENAMETOOLONG:
        return "has a name that is too long for this system."
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return "is empty; it is not a picture that can be read."
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return (
            "is not a picture that can be read here, but HEIC; convert it to JPEG (a phone's "
            "export, or heif-convert)."
        )
    return "is not a picture that can be read; convert it to JPEG or PNG."


def damaged(path, error: Exception) -> ImageError:
    """What to say of a picture whose pixels cannot be decoded."""
    return ImageError(f"{path}: is damaged or cut off ({error}); replace it with an intact copy.")


def _decode(image: Image.Image, path) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # there is no end to what decoders raise
        raise damaged(path, error) from None


def picture_size(path) -> tuple[int, int]:
    """(height, width) of a picture the right way up, from its header alone."""
    with open_picture(path) as image:
        rotated = orientation(image, path) >= 5  # EXIF orientations 5 to 8 swap the axes
        width, height = image.size
    return (width, height) if rotated else (height, width)


def orientation(image: Image.Image, path) -> int:
    """The EXIF orientation of an image, 1 where it is upright or does not say."""
    # Pillow would decode a whole PNG to look for EXIF that it has not announced.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return image.getexif().get(0x0112, 1)
    except DAMAGE as error:
        raise ImageError(f"{path}: has damaged EXIF data ({error}); save it anew.") from None


def read_picture(path) -> np.ndarray:
    """An 8-bit RGB picture (H, W, 3), EXIF orientation applied.

    Grey, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.
    """
    with open_picture(path) as image:
        return to_rgb(_decode(image, path))


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
