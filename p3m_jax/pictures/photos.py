"""Reads pictures together with the part of their metadata that has to be kept."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageFile

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
from p3m_jax.storage import StrPath

CONVERTED = "colour profile other than sRGB, Display P3 or Adobe RGB; converted to sRGB"
NOT_CONVERTED = "unusable colour profile dropped; colours may look different"


@dataclass(frozen=True)
class Picture:
    """An upright picture and its metadata.

    Attributes:
      pixels: RGB uint8 (H, W, 3); transparent parts of the file are composited over white.
      opacity: the file's own alpha channel, uint8 (H, W), or None if the file is opaque.
      icc_profile: the colour profile of `pixels`, or None for sRGB.
      exif: the file's EXIF data without orientation and thumbnail, or None.
      exif_damaged: whether some EXIF tags could not be read and are missing.
      warnings: phrases about anything unexpected in the file.
    """

    pixels: np.ndarray
    opacity: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    exif_damaged: bool = False
    warnings: tuple[str, ...] = ()

    def in_srgb(self) -> np.ndarray:
        """Returns the pixels converted to sRGB, as a network sees them."""
        profile = self.icc_profile
        if profile is None or standard_of(profile) == "sRGB":
            return self.pixels
        return in_profile(self.pixels, profile, None)


def read(path: StrPath) -> Picture:
    """Reads a picture, or the first frame of an animation.

    Raises:
      ImageError: it cannot be read; the message says why.
    """
    with open_picture(path) as image:
        try:
            return _read(image)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise exceptions of any kind
            raise damaged(path, error) from None


def in_standard_colours(picture: Picture) -> Picture:
    """Returns the picture in sRGB, Display P3 or Adobe RGB.

    If it is already in one of these, its profile is replaced by this project's own, or by None for
    sRGB. Otherwise the picture is converted to sRGB, with a warning.
    """
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


def _read(image: ImageFile.ImageFile) -> Picture:
    warnings = []
    if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in image.tile):
        warnings.append("16 bits per channel; colour outputs keep only 8")
    exif = exif_of(image)
    turned = upright(image)
    frames = max(getattr(image, "n_frames", 1), told(image).frames)
    if frames > 1:
        warnings.append(f"only the first of {frames} frames or pages is used")
    if exif.unreadable:
        warnings.append("damaged EXIF data; the picture is treated as upright")
    profile = _profile(image, warnings)
    pixels, opacity = np.ascontiguousarray(to_rgb(turned)), None
    if turned.has_transparency_data:
        opaque = turned.convert("RGBA").getchannel("A")
        lowest, _ = cast(tuple[int, int], opaque.getextrema())  # of one channel
        if lowest < 255:
            warnings.append("partly transparent; transparent parts are treated as background")
            opacity = np.asarray(opaque)
            white = Image.new("RGB", turned.size, "white")
            pixels = np.asarray(Image.composite(Image.fromarray(pixels), white, opaque))
    return Picture(pixels, opacity, profile, exif.kept(), exif.damaged, tuple(warnings))


def _profile(image: Image.Image, warnings: list[str]) -> bytes | None:
    """Returns the RGB pixels' profile; None for CMYK and grey, which are already in sRGB.

    A PNG's cICP chunk takes precedence over its profile. Any other description of the colours is
    used only if the file has no profile.
    """
    profile = told(image).icc_profile
    space = profile_space(profile) if profile else None
    expected = {"CMYK": "CMYK", "L": "GRAY", "LA": "GRAY", "LAB": "Lab"}.get(image.mode, "RGB")
    first = image.format == "PNG" and told(image).cicp is not None
    otherwise, unknown = told_colours(told(image), exif_of(image))
    # If a cICP chunk is not supported (such as PQ), the profile is used instead.
    if space == expected and (unknown is not None or not first):
        return profile if space == "RGB" else None
    if profile and space is None:
        warnings.append("damaged colour profile dropped")
    elif profile and space != expected:
        warnings.append(f"colour profile for {space} in a {image.mode} picture dropped")
    if image.mode in ("CMYK", "LAB"):  # already converted to RGB
        return None
    warnings += [unknown] if unknown else []
    return otherwise


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
