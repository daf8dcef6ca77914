"""Builds a colour profile for files that describe their colours without embedding one.

A PNG file describes its colours in a chunk cICP or sRGB, or in the chunks gAMA and cHRM. The chunk
cICP holds code numbers of ITU-T H.273; AVIF and HEIF files hold the same code numbers. Cameras that
write Adobe RGB say so in the EXIF data.
"""

import functools

import numpy as np

from p3m_jax.pictures.containers import Metadata
from p3m_jax.pictures.exif import Exif
from p3m_jax.pictures.profiles import SRGB_CURVE, matrix_profile, standards

UNCALIBRATED = "the EXIF data names no standard colour space; colours are treated as sRGB"
NOT_KNOWN = "unsupported colour space (primaries {}, transfer {}); colours are treated as sRGB"

# By code number of H.273: x and y of white, red, green and blue.
_D65 = (0.3127, 0.329)
_PRIMARIES = {
    1: (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_UNSPECIFIED = 2
# By code number of H.273. Television's curves are replaced by the curve of sRGB.
_CURVES = {
    **dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
}
_NEAR = 0.001  # chromaticities that differ by less count as equal
_NEAR_GAMMA = 0.01  # programs write sRGB as a gamma of about 1 / 2.2
_D50_XYZ = np.array([0.9642, 1.0, 0.82491])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def told_colours(metadata: Metadata, exif: Exif) -> tuple[bytes | None, str | None]:
    """Builds the colour profile that a file describes without embedding one.

    Returns:
      Two values: the profile and a warning. The profile is None if the colours are sRGB or are
      treated as sRGB. The warning is None unless the description cannot be used.
    """
    if metadata.cicp is not None:
        primaries, transfer = (1 if n == _UNSPECIFIED else n for n in metadata.cicp)
        if primaries not in _PRIMARIES or transfer not in _CURVES:
            return None, NOT_KNOWN.format(*metadata.cicp)
        return _profile(_PRIMARIES[primaries], _CURVES[transfer]), None
    if metadata.srgb:
        return None, None
    if metadata.gamma is not None or metadata.chromaticities is not None:
        return _by_numbers(metadata.gamma, metadata.chromaticities)
    if exif.adobe_rgb:
        return standards()["Adobe RGB"], None
    return None, UNCALIBRATED if exif.uncalibrated else None


def _by_numbers(
    gamma: float | None, chromaticities: tuple[float, ...] | None
) -> tuple[bytes | None, str | None]:
    told = chromaticities or _PRIMARIES[1]
    possible = (gamma is None or 0.1 <= gamma <= 2) and all(0 < n <= 1 for n in told)
    if not possible or _area(told) < _NEAR:
        return None, "impossible colours (gAMA, cHRM) are treated as sRGB"
    if gamma is None or abs(gamma - 1 / 2.2) < _NEAR_GAMMA:
        return _profile(told, SRGB_CURVE), None
    return _profile(told, (1 / gamma,)), None


def _area(told: tuple[float, ...]) -> float:
    """Returns twice the area of the triangle that red, green and blue span."""
    red, green, blue = np.reshape(told[2:], (3, 2))
    (a, b), (c, d) = green - red, blue - red
    return abs(a * d - b * c)


@functools.lru_cache(maxsize=16)
def _profile(told: tuple[float, ...], curve: tuple[float, ...]) -> bytes | None:
    """Makes a profile with these chromaticities, as in `_PRIMARIES`, and this curve.

    Returns None for sRGB, and the standard profile for Display P3.
    """
    names = {1: None, 12: standards()["Display P3"]}
    for number, profile in names.items():
        near = np.abs(np.subtract(told, _PRIMARIES[number])).max() < _NEAR
        if near and curve == SRGB_CURVE:
            return profile
    white, red, green, blue = (np.array([x, y, 1 - x - y]) / y for x, y in np.reshape(told, (4, 2)))
    primaries = np.stack([red, green, blue], axis=1)
    primaries = primaries * np.linalg.solve(primaries, white)
    adaptation = np.diag((_BRADFORD @ _D50_XYZ) / (_BRADFORD @ white))
    adapted = np.linalg.solve(_BRADFORD, adaptation @ _BRADFORD @ primaries)
    return matrix_profile("Colours as the file tells them", tuple(adapted.T.ravel()), curve)
