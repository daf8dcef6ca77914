"""Reads and checks label files: mattes, predicted mattes, trimaps, face masks and label maps.

Only this module reads them. The caller states the kind of each file, and its values are checked
when it is read. Their scale is never guessed: a matte of 0 and 1 would train as an empty matte, and
a face mask of 0 and 1 would leave the face visible.

| kind                 | allowed values                                    | otherwise            |
|----------------------|---------------------------------------------------|----------------------|
| matte                | 8 or 16 bit, with 0 and full scale (255 or 65535) | a warning; refused   |
|                      |                                                   | if the largest value |
|                      |                                                   | is above 0 but below |
|                      |                                                   | half of full scale   |
| prediction           | 8 or 16 bit, any range                            | a warning if the     |
|                      |                                                   | largest value is 1   |
| trimap               | 0, 128 (or 127), 255; not JPEG                    | refused              |
| face mask, part mask | 0 to 8 and 247 to 255                             | refused; also if the |
|                      |                                                   | largest is 1 to 8    |
| label map            | 0 and 101 to 255, see `p3m_jax.faces.region`      | refused              |

Every label file has one channel or several equal ones. The exception is P3M-10k's own face masks,
whose channels differ; only their first channel is used (`several_channels`). Two rules are this
project's own decisions, because no source settles them:

- A matte that is 0 everywhere means a picture without a person. It only causes a warning, whatever
  its number of bits.
- A label file with an EXIF orientation is refused, because training would not rotate it.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
from PIL import Image

from p3m_jax.pictures.images import ImageError, damaged, loaded, open_picture, orientation
from p3m_jax.pictures.trimap import BACKGROUND, FOREGROUND, TRANSITION
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart

NEVER_OPAQUE = "a matte has no opaque pixel: its largest value is below full scale"
NEVER_CLEAR = "a matte has no transparent pixel: it has no value 0"
NOBODY = "a matte is 0 everywhere: it shows no person"
TINY = "a prediction has no value above 1; if it was saved as 0 and 1, multiply it by 255"

MASK_TOLERANCE = 8  # how far a face mask's values may be from 0 and from 255
SMALLEST_LABEL = 101  # programs that treat values above 100 as face can read label maps as masks
_NAMED_VALUES = 5

Warn = Callable[[str], None]


class LabelError(ImageError):
    """A label file holds values that its kind does not allow; the message names the remedy."""


def ignore(warning: str) -> None:
    """Discards a warning about a label file.

    This function is the default `warn` of the functions below. Use it for files that are checked
    elsewhere.
    """


def read_matte(path: StrPath | FilePart, warn: Warn = ignore) -> np.ndarray:
    """Reads a training or test matte as uint8 (H, W); 16-bit files are scaled to 8 bits.

    `path` may be a `FilePart` (a file within another file), here and in the functions below.

    Raises:
      LabelError: its values are not those of a matte.
      ImageError: the file cannot be read.
    """
    values, full = _one_channel(path, "matte")
    lowest, highest = int(values.min()), int(values.max())
    if 0 < highest < full / 2:
        raise LabelError(
            f"{path}: its values are {_named(values)}; a matte ranges from 0 to {full}. "
            f"{_remedy(highest, full)}"
        )
    if highest == 0:
        warn(NOBODY)
    elif highest < full:
        warn(NEVER_OPAQUE)
    if lowest > 0:
        warn(NEVER_CLEAR)
    return _to_8_bit(values, full)


def read_prediction(path: StrPath | FilePart, warn: Warn = ignore) -> np.ndarray:
    """Reads a predicted matte as uint8 (H, W); 16-bit files are scaled to 8 bits.

    Unlike with `read_matte`, its values may cover any range.
    """
    return _to_8_bit(*_prediction(path, warn))


def read_alpha(path: StrPath | FilePart, warn: Warn = ignore) -> np.ndarray:
    """Reads a predicted matte as float32 (H, W) in [0, 1], at the file's full precision."""
    values, full = _prediction(path, warn)
    return np.multiply(values, np.float32(1 / full), dtype=np.float32)


def read_trimap(path: StrPath | FilePart) -> np.ndarray:
    """Reads a trimap as uint8 (H, W) of 0, 128 and 255; 127 is read as 128."""
    values, full = _one_channel(path, "trimap", lossless=True)
    small = _to_8_bit(values, full)
    small[small == TRANSITION - 1] = TRANSITION
    known = np.isin(small, (BACKGROUND, TRANSITION, FOREGROUND))
    if not known.all():
        raise LabelError(
            f"{path}: its values are {_named(values)}; a trimap holds only 0, 128 and 255. Save it "
            "again with these values, without smoothing, or leave trimaps out: they are then made "
            "from the mattes."
        )
    return small


def read_face_mask(path: StrPath | FilePart, *, several_channels: bool = False) -> np.ndarray:
    """Reads a face mask or part mask as uint8 (H, W) of 0 and 255.

    Set `several_channels` for P3M-10k's own face masks: their channels differ, and only the first
    one is used.
    """
    values, full = _one_channel(path, "face mask", several_channels=several_channels)
    small = _to_8_bit(values, full)
    if np.any((small > MASK_TOLERANCE) & (small < 255 - MASK_TOLERANCE)) or _only_ones(values):
        raise LabelError(
            f"{path}: its values are {_named(values)}; a face mask is 255 (white) on the face and "
            "0 (black) elsewhere. Save it as a grey picture with these two values, without "
            "smooth edges."
        )
    return np.where(small > 127, np.uint8(255), np.uint8(0))


def read_label_map(path: StrPath | FilePart) -> np.ndarray:
    """Reads a label map as uint8 (H, W).

    Such files are written by this project. They are checked, because the user may have edited them.

    Raises:
      LabelError: its values are not those of a label map.
    """
    values, full = _one_channel(path, "label map")
    small = _to_8_bit(values, full)
    if np.any((small > 0) & (small < SMALLEST_LABEL)):
        raise LabelError(
            f"{path}: its values are {_named(values)}; a label map is 0 outside faces and "
            f"{SMALLEST_LABEL} to 255 inside. Paint corrections in black and white, without smooth "
            "edges, or delete the file to have it made again."
        )
    return small


def _prediction(path: StrPath | FilePart, warn: Warn) -> tuple[np.ndarray, int]:
    values, full = _one_channel(path, "matte")
    if values.max() == 1:
        warn(TINY)
    return values, full


def _one_channel(
    path: StrPath | FilePart, kind: str, *, several_channels: bool = False, lossless: bool = False
) -> tuple[np.ndarray, int]:
    """Returns the values (H, W), uint8 or uint16, and the largest value of their type."""
    with open_picture(path) as image:
        turned = orientation(image)
        if turned != 1:
            raise LabelError(
                f"{path}: is stored rotated or mirrored (EXIF orientation {turned}); save the "
                f"{kind} upright."
            )
        if lossless and image.format == "JPEG":
            raise LabelError(
                f"{path}: is a JPEG, which changes the values of a {kind}; save it as PNG."
            )
        try:
            values = _values(loaded(image), path, kind)
        except (MemoryError, ImageError):
            raise
        except Exception as error:  # decoders raise exceptions of any kind
            raise damaged(path, error) from None
    if values.ndim == 3:
        first = values[..., 0]
        if not several_channels and np.any(values != first[..., None]):
            raise LabelError(
                f"{path}: its colour channels differ, so it is not clear which one is the {kind}; "
                f"save the {kind} as a grey picture."
            )
        values = first
    return values, np.iinfo(values.dtype).max


def _values(image: Image.Image, path: StrPath | FilePart, kind: str) -> np.ndarray:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        lowest, _ = cast(tuple[int, int], image.getchannel("A").getextrema())  # of one channel
        if lowest < 255:
            raise LabelError(
                f"{path}: is partly transparent, so it is not clear what the {kind} is; save it "
                "as a grey picture without an alpha channel."
            )
        image = image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        whole = values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535
        if not whole:
            raise LabelError(
                f"{path}: holds {values.dtype} values from {values.min():g} to {values.max():g}; "
                f"a {kind} has 8 or 16 bits. Save it as a grey picture of 0 to 255."
            )
        return values.astype(np.uint16)
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def _to_8_bit(values: np.ndarray, full: int) -> np.ndarray:
    """Copies uint8 values; scales uint16 values to 8 bits and rounds them."""
    if full == 255:
        return np.array(values)
    return np.rint(values.astype(np.float32) / 257).astype(np.uint8)


def _only_ones(values: np.ndarray) -> bool:
    """Whether all values are small numbers that were probably meant as labels, such as 0 and 1."""
    highest = int(values.max())
    return 0 < highest <= np.iinfo(values.dtype).max * MASK_TOLERANCE // 255


def _named(values: np.ndarray) -> str:
    """Describes the values of a file: "0 and 1", or "0 to 90 (37 values)" if there are many."""
    found = np.unique(values)
    if len(found) > _NAMED_VALUES:
        return f"{found[0]} to {found[-1]} ({len(found)} values)"
    *others, last = map(str, found)
    return f"{', '.join(others)} and {last}" if others else last


def _remedy(highest: int, full: int) -> str:
    if highest == 1:
        return f"If 1 is opaque, multiply it by {full}."
    if highest <= 255 < full:
        return "If it is an 8-bit matte in a 16-bit file, save it with 8 bits."
    return "Stretch it so that opaque pixels have the largest value."
