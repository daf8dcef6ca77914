"""What is made and written of one picture and its alpha."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.data.folders import user_path
from p3m_jax.errors import OptionError
from p3m_jax.inference.resizing import to_8_bit
from p3m_jax.jobs.plan import Plan, PlanError
from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.photos import Picture, digest, read
from p3m_jax.pictures.profiles import in_profile
from p3m_jax.prediction.compose import blurred, composite, cover, cut_out, deep, parse_colour

BLUR = "blur"
_PERSON = 0.001  # less of a picture than this is no person
_UNSURE = 0.5  # more of it than this in transition is no matte
_JPEG_EXIF = 65_533  # bytes that a JPEG holds of it


def ending(kind: str, format: str) -> str:
    """The ending of the files of a kind: alpha is exact, and JPEG has no alpha channel."""
    if kind == "alpha" or (kind == "cutout" and format == "jpg"):
        return "png"
    return format


@dataclass(frozen=True)
class Background:
    """What composites are put over: a colour (3,), a picture, or the picture's own, blurred.

    Attributes:
      name: tells it from others: "blur", the colour as it was written, a picture's SHA-256.
      file: of the picture.
    """

    name: str
    colour: np.ndarray | None = None
    picture: Picture | None = None
    file: Path | None = None

    def behind(self, picture: Picture, matte, estimate: np.ndarray) -> np.ndarray:
        """The background for one picture: uint8 (H, W, 3) or (3,), in the picture's profile."""
        if self.colour is not None:
            return self.colour
        if self.picture is None:
            return blurred(estimate, matte)
        covering = cover(self.picture.pixels, matte.shape)
        return in_profile(covering, self.picture.icc_profile, picture.icc_profile)


def find_background(text: str) -> Background:
    """The background that `text` means: "blur", a colour, or a picture's path.

    Raises `OptionError` for none of them, and `ImageError` for a picture that cannot be read.
    """
    if text == BLUR:
        return Background(text)
    colour = parse_colour(text)
    if colour is not None:
        return Background(text, colour=colour)
    file = user_path(text)
    if not file.exists():
        raise OptionError(
            f"{text}: is no background; name {BLUR}, a colour ('#30c040', 48,192,64, teal) or a "
            "picture."
        )
    return Background(digest(file), picture=read(file), file=file)


def check_background(plan: Plan, output: Path, background: Background) -> None:
    """Raises `PlanError` where an output would replace the picture of a background."""
    if background.file is not None:
        paths = ((output / path).resolve() for job in plan.jobs for path in job.outputs.values())
        if background.file.resolve() in paths:
            raise PlanError(
                f"{background.file}: is the background and would be an output; name another folder."
            )


@dataclass(frozen=True)
class Writing:
    """How outputs are written.

    Attributes:
      background: for composites.
      quality: of JPEG and lossy WebP, 1 to 100.
      deep_alpha: alpha with 16 bits.
      keep_metadata: EXIF data goes into the colour outputs, places included.
    """

    background: Background | None = None
    quality: int = 95
    deep_alpha: bool = False
    keep_metadata: bool = False

    def settings(self, kind: str, format: str) -> dict[str, Any]:
        """What an output depends on beside its matte; its path tells the format."""
        if kind == "alpha":
            return {"alpha_bits": 16 if self.deep_alpha else 8}
        settings = {"keep_metadata": self.keep_metadata}
        if ending(kind, format) != "png" and kind != "cutout":  # cut-outs are without loss
            settings["quality"] = self.quality
        if kind == "composite":
            settings["background"] = self.background.name
        return settings


def needs_colours(kinds: Iterable[str]) -> bool:
    """Whether foreground and background have to be estimated."""
    return set(kinds) != {"alpha"}


def write_outputs(
    picture: Picture, alpha: np.ndarray, outputs: dict[str, Path], writing: Writing
) -> list[str]:
    """Writes the outputs of a picture, by kind, from its alpha float32 (H, W) in [0, 1].

    Colours are estimated for alpha in 8 bits, so that the files together mix to the picture.
    Returns warnings about what a format does not hold.
    """
    matte = to_8_bit(alpha)
    if "alpha" in outputs:
        write_image(outputs["alpha"], deep(alpha) if writing.deep_alpha else matte)
    if not needs_colours(outputs):
        return []
    foreground, background = estimate_foreground(picture.pixels, matte)
    make = {
        "foreground": lambda: foreground,
        "background": lambda: background,
        "cutout": lambda: cut_out(foreground, matte),
        "composite": lambda: composite(
            foreground, matte, writing.background.behind(picture, matte, background)
        ),
    }
    warnings = []
    if writing.keep_metadata and picture.exif_damaged:
        warnings.append("EXIF data that is damaged in parts, which are left out")
    for kind, path in outputs.items():
        if kind not in make:
            continue
        exif = picture.exif if writing.keep_metadata else None
        if exif and path.suffix == ".jpg" and len(exif) > _JPEG_EXIF:
            exif = None
            warnings.append("more EXIF data than a JPEG holds, left out")
        write_image(
            path,
            make[kind](),
            quality=writing.quality,
            icc_profile=picture.icc_profile,
            exif=exif,
        )
    return list(dict.fromkeys(warnings))


def judge(alpha: np.ndarray) -> tuple[float, list[str]]:
    """The share of a matte's pixels in transition, and warnings about what it looks like."""
    matte = to_8_bit(alpha)
    transition = float(np.mean((matte > 0) & (matte < 255)))
    warnings = []
    person = np.mean(matte >= 128)
    if person < _PERSON:
        warnings.append("no person found")
    elif person > 1 - _PERSON:
        warnings.append("no background found: nearly all is person")
    if transition > _UNSURE:
        warnings.append(f"{transition:.0%} of the picture in transition")
    return transition, warnings
