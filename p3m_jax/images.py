"""Reading and writing pictures and mattes, the same way everywhere.

Whatever a file holds, a picture arrives as 8-bit RGB the right way up and a matte as one 8-bit
channel; what cannot be read raises `ImageError` with one sentence that names the file.
"""

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from p3m_jax.errors import UserError
from p3m_jax.files import whole_file

# A picture of 20,000 x 10,000 pixels is a decompression bomb rather than a portrait. Pillow warns
# from its own limit on and refuses twice that: ours takes the place of both.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# What Pillow raises for damaged files, their EXIF included.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


class ImageError(UserError):
    """A picture that cannot be used; the message names the file and the remedy."""


def _open(path) -> Image.Image:
    path = Path(path)
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not a picture.") from None
    except PermissionError:
        raise ImageError(f"{path}: may not be read; check its permissions.") from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path}: claims more than {MAX_PIXELS:,} pixels; shrink it first."
        ) from None
    except _DAMAGE:
        raise ImageError(
            f"{path}: is not a picture that can be read; convert it to JPEG or PNG."
        ) from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{path}: has more than {MAX_PIXELS:,} pixels; shrink it first.")
    return image


def _decode(image: Image.Image, path) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise ImageError(
            f"{path}: is damaged or cut off ({error}); replace it with an intact copy."
        ) from None


def picture_size(path) -> tuple[int, int]:
    """(height, width) of a picture the right way up, from its header alone."""
    with _open(path) as image:
        rotated = _orientation(image, path) >= 5  # EXIF orientations 5 to 8 swap the axes
        width, height = image.size
    return (width, height) if rotated else (height, width)


def _orientation(image: Image.Image, path) -> int:
    # Pillow would decode a whole PNG to look for EXIF that it has not announced.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return image.getexif().get(0x0112, 1)
    except _DAMAGE as error:
        raise ImageError(f"{path}: has damaged EXIF data ({error}); save it anew.") from None


def read_picture(path) -> np.ndarray:
    """An 8-bit RGB picture (H, W, 3), EXIF orientation applied.

    Grey, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.
    """
    with _open(path) as image:
        image = _decode(image, path)
        if image.mode.startswith("I") or image.mode == "F":
            grey = _to_8_bit(np.asarray(image))
            return np.repeat(grey[..., None], 3, axis=-1)
        return np.asarray(image.convert("RGB"))


def read_matte(path) -> np.ndarray:
    """An 8-bit single-channel map (H, W): alpha matte, trimap or face mask.

    Of several channels the first counts (P3M-10k's have equal ones, and face masks carry their
    information there); 16-bit files are scaled to 8 bits. An alpha channel that is not opaque is
    refused: whether it or the colours are the matte, the file does not say.
    """
    with _open(path) as image:
        image = _decode(image, path)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema()[0] < 255:
                raise ImageError(
                    f"{path}: is transparent in parts, so it is not clear what its matte is; save "
                    "the matte as a grey picture without an alpha channel."
                )
        if not image.mode.startswith(("L", "RGB", "I", "F")):
            image = image.convert("L" if image.mode == "1" else "RGB")
        values = np.asarray(image)
    return _to_8_bit(values if values.ndim == 2 else values[..., 0])


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    # Pillow hands out 16-bit grey as uint16 or int32.
    return np.clip(np.rint(values.astype(np.float64) / 257.0), 0, 255).astype(np.uint8)


def write_image(path, values: np.ndarray, *, quality: int = 95) -> None:
    """Writes an 8-bit array (H, W), (H, W, 3) or (H, W, 4) whole or not at all.

    The format follows the ending of `path`; `quality` counts for JPEG. The file appears under its
    name only when it is complete, so that a killed run leaves no half picture behind.
    """
    path = Path(path)
    kind = _format(path)
    options = {"quality": quality, "subsampling": 0} if kind == "JPEG" else {}
    with whole_file(path) as file:
        Image.fromarray(values).save(file, format=kind, **options)


def _format(path: Path) -> str:
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    try:
        return formats[path.suffix.lower()]
    except KeyError:
        raise ImageError(f"{path}: write pictures as .png, .jpg or .webp.") from None
