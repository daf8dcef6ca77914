"""Makes colour profiles, so that no private data of an input's profile gets into a released copy.

A profile may hold private tags, such as names, serial numbers or even pictures. So a released copy
never contains the profile of its input:

- If the input is in Display P3 or Adobe RGB, the copy keeps its pixel values and gets a profile
  made here.
- If it is in sRGB, the copy gets no profile; every reader treats such a file as sRGB.
- With any other profile, the pixels are converted to sRGB.
"""

import functools
import io
import struct
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageCms

from p3m_jax.pictures.images import DAMAGE

_MAX_DIFFERENCE = 1  # of 255; profiles of the same colour space round their values differently
_D50 = (0.9642, 1.0, 0.82491)
# Adapts D65, the white of both standards, to D50, the white of ICC profiles (Bradford's method).
_ADAPTATION = (
    *(1.04788, 0.02292, -0.05022),
    *(0.02959, 0.99048, -0.01707),
    *(-0.00925, 0.01508, 0.75168),
)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def in_profile(pixels: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray:
    """Converts pixels like `converted`, but leaves them unchanged if a profile cannot be used."""
    made = converted(pixels, source, target)
    return pixels if made is None else made


def converted(pixels: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray | None:
    """Converts RGB uint8 (H, W, 3) from one colour profile to another; None means sRGB.

    Returns None if a profile cannot be used.
    """
    if source == target:
        return pixels
    try:
        one, other = (
            ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if profile
            else ImageCms.createProfile("sRGB")
            for profile in (source, target)
        )
        return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), one, other))
    except (ImageCms.PyCMSError, *DAMAGE):
        return None


@functools.lru_cache(maxsize=16)
def standard_of(profile: bytes) -> str | None:
    """Returns the name of an RGB profile's colour space; None if it is not one of `standards`.

    Profiles are compared by their effect on colours, so their form and other tags do not matter.
    """
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 18, 3)
    for name, standard in standards().items():
        seen = converted(colours, profile, standard)
        if seen is None:
            return None
        if np.abs(seen.astype(int) - colours).max() <= _MAX_DIFFERENCE:
            return name
    return None


@functools.cache
def standards() -> dict[str, bytes | None]:
    """Returns {colour space: profile} for sRGB, Display P3 and Adobe RGB.

    The profiles are made by this project. That of sRGB is None, because such files need no profile.
    """
    display_p3 = (
        *(0.51512, 0.24120, -0.00105),
        *(0.29198, 0.69225, 0.04189),
        *(0.15710, 0.06657, 0.78407),
    )
    adobe_rgb = (
        *(0.60974, 0.31111, 0.01947),
        *(0.20528, 0.62567, 0.06087),
        *(0.14919, 0.06322, 0.74457),
    )
    return {
        "sRGB": None,
        "Display P3": matrix_profile("Display P3", display_p3, SRGB_CURVE),
        "Adobe RGB": matrix_profile("Compatible with Adobe RGB (1998)", adobe_rgb, (2.19921875,)),
    }


def matrix_profile(name: str, primaries: tuple[float, ...], curve: tuple[float, ...]) -> bytes:
    """Makes an RGB profile (ICC version 4.2) that holds only the required tags.

    Args:
      name: its description.
      primaries: X, Y, Z of red, of green and of blue, adapted to D50.
      curve: one exponent, or the five parameters of a curve like sRGB's (ICC's type 3).
    """
    kind = {1: 0, 5: 3}[len(curve)]
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": b"XYZ \0\0\0\0" + _numbers(_D50),
        b"chad": b"sf32\0\0\0\0" + _numbers(_ADAPTATION),
        **{
            tag: b"XYZ \0\0\0\0" + _numbers(primaries[3 * number : 3 * number + 3])
            for number, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
        },
        b"rTRC": b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _numbers(curve),
    }
    table, data = b"", b""
    start = 128 + 4 + 12 * (len(tags) + 2)
    places = {}
    for tag, content in tags.items():
        places[tag] = (start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    places |= {b"gTRC": places[b"rTRC"], b"bTRC": places[b"rTRC"]}
    for tag, place in places.items():
        table += tag + struct.pack(">II", *place)
    header = struct.pack(
        ">I4sI4s4s4s6H4s28x12s48x",
        *(start + len(data), b"", 0x04200000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0),
        *(b"acsp", _numbers(_D50)),
    )
    return header + struct.pack(">I", len(places)) + table + data


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _numbers(values: Iterable[float]) -> bytes:
    """Encodes numbers as signed 32-bit fixed point with 16 fractional bits."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
