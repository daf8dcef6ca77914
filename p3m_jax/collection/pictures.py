"""Reading pictures with what has to be kept of their metadata."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from p3m_jax.images import DAMAGE, damaged, open_picture, profile_space, to_rgb

_ORIENTATION, _EXIF_IFD, _SIZES = 0x0112, 0x8769, (0xA002, 0xA003)


@dataclass(frozen=True)
class Picture:
    """A picture the right way up.

    Attributes:
      pixels: RGB uint8 (H, W, 3); over white where the file is transparent.
      opacity: uint8 (H, W), the file's own alpha channel, or None where it is opaque.
      icc_profile: the profile that gives the pixels their meaning, or None for sRGB.
      exif: the file's EXIF data without orientation and thumbnail, or None.
      warnings: sentences about what is not as it might be expected.
    """

    pixels: np.ndarray
    opacity: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    warnings: tuple[str, ...] = ()


def read(path) -> Picture:
    """Reads a picture; of an animation the first frame. `ImageError` says why it cannot be read."""
    with open_picture(path) as image:
        try:
            return _read(image)
        except MemoryError:
            raise
        except Exception as error:  # there is no end to what decoders raise
            raise damaged(path, error) from None


def _read(image: Image.Image) -> Picture:
    warnings = []
    if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in image.tile):
        warnings.append("16 bits a channel, of which colour outputs keep 8")
    image.load()
    # A telephone's JPEG may bring further pictures, such as a depth map.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        warnings.append(f"first of {image.n_frames} frames or pages")
    try:
        upright = ImageOps.exif_transpose(image)
        exif = _exif(upright)
        damage = not image.getexif() and not _has_no_tags(image.info.get("exif"))
    except DAMAGE:
        upright, exif, damage = image.copy(), None, True
    if damage:
        warnings.append("damaged EXIF data, taken as upright")
    profile = _profile(upright, warnings)
    pixels, opacity = np.ascontiguousarray(to_rgb(upright)), None
    if upright.has_transparency_data:
        opaque = upright.convert("RGBA").getchannel("A")
        if opaque.getextrema()[0] < 255:
            warnings.append("transparent in parts, which are background")
            opacity = np.asarray(opaque)
            white = Image.new("RGB", upright.size, "white")
            pixels = np.asarray(Image.composite(Image.fromarray(pixels), white, opaque))
    return Picture(pixels, opacity, profile, exif, tuple(warnings))


def _profile(image: Image.Image, warnings: list[str]) -> bytes | None:
    """The profile to keep: of the RGB numbers; CMYK and grey have been converted by theirs."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    space = profile_space(profile)
    if space is None:
        warnings.append("damaged colour profile, left out")
    expected = {"CMYK": "CMYK", "L": "GRAY", "LA": "GRAY", "LAB": "Lab"}.get(image.mode, "RGB")
    if space not in (None, expected):
        warnings.append(f"colour profile for {space} in a picture that is {image.mode}, left out")
    return profile if space == expected == "RGB" else None


def _exif(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    exif.pop(_ORIENTATION, None)
    inner = exif.get_ifd(_EXIF_IFD)
    for tag in _SIZES:  # of the picture as it was stored
        inner.pop(tag, None)
    return exif.tobytes() if exif else None


def _has_no_tags(exif: bytes | None) -> bool:
    """Whether an EXIF block is missing, or says itself that it is empty."""
    if not exif:
        return True
    header = exif.removeprefix(b"Exif\0\0")
    order = "big" if header[:2] == b"MM" else "little"
    start = int.from_bytes(header[4:8], order)
    return header[start : start + 2] == b"\0\0"


def in_profile(pixels: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray:
    """As `converted`, but unchanged where a profile cannot be used."""
    made = converted(pixels, source, target)
    return pixels if made is None else made


def converted(pixels: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray | None:
    """RGB uint8 (H, W, 3) converted from one colour profile to another; None means sRGB.

    Returns None where a profile cannot be used.
    """
    if source == target:
        return pixels
    try:
        profiles = (
            ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if profile
            else ImageCms.createProfile("sRGB")
            for profile in (source, target)
        )
        return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), *profiles))
    except (ImageCms.PyCMSError, *DAMAGE):
        return None


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
