"""Reading pictures with what has to be kept of their metadata."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from p3m_jax.pictures.colours import told_colours
from p3m_jax.pictures.images import (
    damaged,
    exif_of,
    open_picture,
    profile_space,
    to_rgb,
    told,
    upright,
)
from p3m_jax.pictures.profiles import converted, in_profile, standard_of, standards

CONVERTED = "colour profile other than sRGB, Display P3 and Adobe RGB: converted to sRGB"
NOT_CONVERTED = "colour profile that cannot be used, left out: colours may look different"


@dataclass(frozen=True)
class Picture:
    """A picture the right way up.

    Attributes:
      pixels: RGB uint8 (H, W, 3); over white where the file is transparent.
      opacity: uint8 (H, W), the file's own alpha channel, or None where it is opaque.
      icc_profile: the profile that gives the pixels their meaning, or None for sRGB.
      exif: the file's EXIF data without orientation and thumbnail, or None.
      exif_damaged: some tags of it cannot be read and are missing.
      warnings: sentences about what is not as it might be expected.
    """

    pixels: np.ndarray
    opacity: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    exif_damaged: bool = False
    warnings: tuple[str, ...] = ()

    def in_srgb(self) -> np.ndarray:
        """The pixels as a network sees them: in sRGB."""
        profile = self.icc_profile
        if profile is None or standard_of(profile) == "sRGB":
            return self.pixels
        return in_profile(self.pixels, profile, None)


def read(path) -> Picture:
    """Reads a picture; of an animation the first frame. `ImageError` says why it cannot be read."""
    with open_picture(path) as image:
        try:
            return _read(image)
        except MemoryError:
            raise
        except Exception as error:  # there is no end to what decoders raise
            raise damaged(path, error) from None


def in_standard_colours(picture: Picture) -> Picture:
    """The picture with a profile made here or none; converted to sRGB and warned of if need be."""
    if picture.icc_profile is None:
        return picture
    name = standard_of(picture.icc_profile)
    if name is not None:
        return replace(picture, icc_profile=standards()[name])
    pixels = converted(picture.pixels, picture.icc_profile, None)
    warning = NOT_CONVERTED if pixels is None else CONVERTED
    return replace(
        picture,
        pixels=picture.pixels if pixels is None else pixels,
        icc_profile=None,
        warnings=(*picture.warnings, warning),
    )


def _read(image: Image.Image) -> Picture:
    warnings = []
    if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in image.tile):
        warnings.append("16 bits a channel, of which colour outputs keep 8")
    exif = exif_of(image)
    turned = upright(image)
    frames = max(getattr(image, "n_frames", 1), told(image).frames)
    if frames > 1:
        warnings.append(f"first of {frames} frames or pages")
    if exif.unreadable:
        warnings.append("damaged EXIF data, taken as upright")
    profile = _profile(image, warnings)
    pixels, opacity = np.ascontiguousarray(to_rgb(turned)), None
    if turned.has_transparency_data:
        opaque = turned.convert("RGBA").getchannel("A")
        if opaque.getextrema()[0] < 255:
            warnings.append("transparent in parts, which are background")
            opacity = np.asarray(opaque)
            white = Image.new("RGB", turned.size, "white")
            pixels = np.asarray(Image.composite(Image.fromarray(pixels), white, opaque))
    return Picture(pixels, opacity, profile, exif.kept(), exif.damaged, tuple(warnings))


def _profile(image: Image.Image, warnings: list[str]) -> bytes | None:
    """The profile to keep: of the RGB numbers; CMYK and grey have been converted by theirs.

    A PNG's cICP chunk takes precedence over its profile; everything else counts only without one.
    """
    profile = told(image).icc_profile
    space = profile_space(profile) if profile else None
    expected = {"CMYK": "CMYK", "L": "GRAY", "LA": "GRAY", "LAB": "Lab"}.get(image.mode, "RGB")
    first = image.format == "PNG" and told(image).cicp is not None
    otherwise, unknown = told_colours(told(image), exif_of(image))
    if space == expected and (unknown is not None or not first):  # PQ falls back to the profile
        return profile if space == "RGB" else None
    if profile and space is None:
        warnings.append("damaged colour profile, left out")
    elif profile and space != expected:
        warnings.append(f"colour profile for {space} in a picture that is {image.mode}, left out")
    if image.mode in ("CMYK", "LAB"):  # of which RGB was made
        return None
    warnings += [unknown] if unknown else []
    return otherwise


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
