"""Makes and writes the outputs of one picture from its alpha."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.errors import OptionError
from p3m_jax.inference.resizing import to_8_bit
from p3m_jax.jobs.plan import Plan, PlanError
from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.photos import Picture, digest, read
from p3m_jax.pictures.profiles import in_profile
from p3m_jax.prediction.compose import blurred, composite, cover, cut_out, deep, parse_colour
from p3m_jax.storage.paths import user_path

MATTING_KINDS = ("alpha", "cutout", "foreground", "background", "composite")
BLUR = "blur"
_PERSON = 0.001  # if a smaller fraction of the picture is person, none was found
_UNSURE = 0.5  # if a larger fraction of the picture is in transition, the matte is doubtful
_JPEG_EXIF = 65_533  # most bytes of EXIF data that a JPEG can hold


def ending(kind: str, format: str) -> str:
    """Returns the file name ending of an output of `kind`: `format`, with two exceptions.

    Alpha is always "png", because it must be lossless. Cut-outs are "png" instead of "jpg", because
    JPEG has no alpha channel.
    """
    if kind == "alpha" or (kind == "cutout" and format == "jpg"):
        return "png"
    return format


@dataclass(frozen=True)
class Background:
    """The background of composites: a colour, a picture, or each picture's own blurred background.

    Attributes:
      name: "blur", the colour as the user wrote it, or the picture's SHA-256.
      colour: uint8 (3,), or None.
      picture: the background picture, or None.
      file: the file of that picture, or None.
    """

    name: str
    colour: np.ndarray | None = None
    picture: Picture | None = None
    file: Path | None = None

    def behind(self, picture: Picture, matte: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """Returns the background for a picture's composite: uint8 (H, W, 3), or one colour (3,).

        A background picture is converted to the colour profile of `picture`.

        Args:
          picture: the picture.
          matte: its matte, uint8 (H, W).
          estimate: its estimated background, uint8 (H, W, 3), which is used for "blur".
        """
        if self.colour is not None:
            return self.colour
        if self.picture is None:
            return blurred(estimate, matte)
        covering = cover(self.picture.pixels, matte.shape)
        return in_profile(covering, self.picture.icc_profile, picture.icc_profile)


def find_background(text: str) -> Background:
    """Returns the background that `text` describes: "blur", a colour, or the path of a picture.

    Raises:
      OptionError: `text` is none of them.
      ImageError: the picture cannot be read.
    """
    if text == BLUR:
        return Background(text)
    colour = parse_colour(text)
    if colour is not None:
        return Background(text, colour=colour)
    file = user_path(text)
    if not file.exists():
        raise OptionError(
            f"{text}: is not a background; use {BLUR}, a colour ('#30c040', 48,192,64, teal) or a "
            "picture."
        )
    return Background(digest(file), picture=read(file), file=file)


def check_background(plan: Plan, output: Path, background: Background) -> None:
    """Raises `PlanError` if an output would replace the background picture.

    `plan` lists the outputs, with paths relative to the folder `output`.
    """
    if background.file is not None:
        paths = ((output / path).resolve() for job in plan.jobs for path in job.outputs.values())
        if background.file.resolve() in paths:
            raise PlanError(
                f"{background.file}: is the background and would be replaced by an output; choose "
                "another folder with -o."
            )


@dataclass(frozen=True)
class Writing:
    """How outputs are written.

    Attributes:
      background: the background of composites.
      quality: the quality of JPEG and lossy WebP, 1 to 100.
      deep_alpha: whether to write alpha with 16 bits.
      keep_metadata: whether to copy EXIF data, including GPS positions, into the colour outputs.
    """

    background: Background | None = None
    quality: int = 95
    deep_alpha: bool = False
    keep_metadata: bool = False

    def needed_background(self) -> Background:
        """Returns the background, which must not be None. Call this only for composites."""
        assert self.background is not None
        return self.background

    def settings(self, kind: str, format: str) -> dict[str, Any]:
        """Returns {name: value} of the settings that affect the contents of an output of this kind.

        How the matte is made is not included. Neither is the format, because the output's path
        already shows it.
        """
        if kind == "alpha":
            return {"alpha_bits": 16 if self.deep_alpha else 8}
        settings: dict[str, Any] = {"keep_metadata": self.keep_metadata}
        if ending(kind, format) != "png" and kind != "cutout":  # cut-outs are lossless
            settings["quality"] = self.quality
        if kind == "composite":
            settings["background"] = self.needed_background().name
        return settings


def needs_colours(kinds: Iterable[str]) -> bool:
    """Whether outputs of these kinds need an estimate of the foreground and background colours."""
    return set(kinds) != {"alpha"}


def write_outputs(
    picture: Picture, alpha: np.ndarray, outputs: dict[str, Path], writing: Writing
) -> list[str]:
    """Writes the outputs of a picture.

    Foreground and background are estimated for the alpha rounded to 8 bits. Mixed by this rounded
    alpha, the two yield the picture again.

    Args:
      picture: the picture.
      alpha: its alpha, float32 (H, W) in [0, 1].
      outputs: {kind: file} of the outputs to write.
      writing: how they are written.

    Returns:
      Warnings about metadata that could not be written.
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
            foreground, matte, writing.needed_background().behind(picture, matte, background)
        ),
    }
    warnings = []
    if writing.keep_metadata and picture.exif_damaged:
        warnings.append("damaged parts of the EXIF data left out")
    for kind, path in outputs.items():
        if kind not in make:
            continue
        exif = picture.exif if writing.keep_metadata else None
        if exif and path.suffix == ".jpg" and len(exif) > _JPEG_EXIF:
            exif = None
            warnings.append("EXIF data left out, because it is too large for a JPEG")
        write_image(
            path,
            make[kind](),
            quality=writing.quality,
            icc_profile=picture.icc_profile,
            exif=exif,
        )
    return list(dict.fromkeys(warnings))


def judge(alpha: np.ndarray) -> tuple[float, list[str]]:
    """Returns the fraction of pixels that are partly transparent, and warnings about the alpha.

    `alpha` is (H, W) in [0, 1]. A pixel is partly transparent if its alpha, rounded to 8 bits, is
    neither 0 nor 255.
    """
    matte = to_8_bit(alpha)
    transition = float(np.mean((matte > 0) & (matte < 255)))
    warnings = []
    person = np.mean(matte >= 128)
    if person < _PERSON:
        warnings.append("no person found")
    elif person > 1 - _PERSON:
        warnings.append("no background found: nearly all of the picture is person")
    if transition > _UNSURE:
        warnings.append(f"{transition:.0%} of the picture is in transition")
    return transition, warnings
