"""Computes mattes of pictures of any size with a network whose input sides are multiples of 32.

The strategies have the papers' names. RESIZE runs the network once at half size; the published
tables use it. HYBRID predicts the classes at half size and the details at full size; it is
recommended for single pictures. "native" runs once at full size.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.inference.resizing import Protocol, find_protocol

STRIDE = 32  # the network halves its input five times
LARGEST_SIDE = 1600


class Pass(NamedTuple):
    """One run of the network.

    Attributes:
      map: the map that it computes: "semantic", "detail" or "fusion".
      ratio: the scale of the picture's sides; 0.5 halves the height and the width.
    """

    map: str
    ratio: float


# A "fusion" is the matte. Without it, the classes come from "semantic" and the rest from "detail".
STRATEGIES = {
    "resize": (Pass("fusion", 0.5),),
    "hybrid": (Pass("semantic", 0.5), Pass("detail", 1.0)),
    "native": (Pass("fusion", 1.0),),
}

# Called with the name of a map, and pictures float32 (1, H, W, 3) in [0, 255], H and W multiples of
# 32. Returns the map in float32: `semantic` (1, H, W, 3) logits of background, transition,
# foreground; `detail` and `fusion` (1, H, W, 1) in [0, 1]. See `p3m_jax.inference.programs`.
Predict = Callable[[str, np.ndarray], np.ndarray]


class Placing(NamedTuple):
    """How a picture is placed in the network's input; sizes are (height, width).

    Attributes:
      scaled: the size to which the picture is resized.
      frame: the size of the network's input; both sides are multiples of 32. If it is larger than
        `scaled`, the picture is centred in it, and its edge pixels are repeated around it.
    """

    scaled: tuple[int, int]
    frame: tuple[int, int]

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """Pads the resized picture (*scaled, C) to the network's input (*frame, C)."""
        if self.scaled == self.frame:
            return pixels
        top, left = self._corner()
        bottom = self.frame[0] - self.scaled[0] - top
        right = self.frame[1] - self.scaled[1] - left
        return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REPLICATE)

    def unframed(self, values: np.ndarray) -> np.ndarray:
        """Crops a map (*frame, ...) to the part that shows the picture, (*scaled, ...)."""
        top, left = self._corner()
        return values[top : top + self.scaled[0], left : left + self.scaled[1]]

    def _corner(self) -> tuple[int, int]:
        return (self.frame[0] - self.scaled[0]) // 2, (self.frame[1] - self.scaled[1]) // 2


# Called with a pass and the size of a picture; returns how the network sees the picture.
PlaceAt = Callable[[Pass, tuple[int, int]], Placing]


def matte_picture(
    predict: Predict,
    picture: np.ndarray,
    *,
    strategy: str = "resize",
    protocol: Protocol | str = "ours",
    smallest_side: int | None = None,
    place_at: PlaceAt | None = None,
) -> np.ndarray:
    """Computes the alpha matte (H, W), floats in [0, 1], of a picture uint8 (H, W, 3).

    Args:
      predict: runs the network.
      picture: RGB.
      strategy: the name of one of `STRATEGIES`: "resize", "hybrid" or "native".
      protocol: how the picture and the maps are resized; a `Protocol` or its name. Its rounding
        for scores is not applied, see `Protocol.scored`.
      smallest_side: if a side of the picture is shorter, the picture is enlarged so that both sides
        are at least this long. The network then runs once, whatever the strategy.
      place_at: chooses the sizes at which the network runs; `whole_frame` by default.

    Raises:
      ValueError: the picture is not uint8 (H, W, 3), a name is unknown, or an output is not finite.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"the picture must be uint8 (H, W, 3), but is {picture.dtype} {picture.shape}."
        )
    if strategy not in STRATEGIES:
        raise ValueError(f"{strategy}: is no strategy; choose {', '.join(STRATEGIES)}.")
    protocol, full = find_protocol(protocol), picture.shape[:2]
    passes, place_at = STRATEGIES[strategy], place_at or whole_frame
    if smallest_side is not None and min(full) < smallest_side:
        passes = (Pass("fusion", max(smallest_side / side for side in full)),)
    maps = {this.map: _run(predict, this, picture, protocol, place_at) for this in passes}
    if "fusion" in maps:
        alpha = protocol.resize(maps["fusion"][..., 0], full)
    else:
        background, foreground = protocol.sure(np.argmax(maps["semantic"], axis=-1), full)
        alpha = protocol.resize(maps["detail"][..., 0], full)
        alpha[background] = 0
        alpha[foreground] = 1
    return np.clip(alpha, 0, 1, out=alpha)


def _run(
    predict: Predict, this: Pass, picture: np.ndarray, protocol: Protocol, place_at: PlaceAt
) -> np.ndarray:
    """Computes the map of one pass (h, w, C), cropped to the picture."""
    placing = place_at(this, picture.shape[:2])
    scaled = protocol.resize(picture, placing.scaled)
    scaled *= 255
    framed = placing.framed(scaled.astype(np.float32, copy=False))
    return placing.unframed(np.asarray(predict(this.map, framed[None]))[0])


def whole_frame(this: Pass, size: tuple[int, int]) -> Placing:
    """Returns the `Placing` in which a picture fills the network's whole input, without padding.

    `network_size` computes the size of the input.

    Args:
      this: the run of the network that the picture is for.
      size: the (height, width) of the picture.
    """
    fitting = network_size(size, this.ratio)
    return Placing(fitting, fitting)


def network_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Returns the (height, width) of the network's input for a picture of `size`.

    Each side of the picture is multiplied by `ratio`, rounded down to a multiple of 32, and limited
    to 32..1600. The two sides are rounded independently, so the aspect ratio changes a little.
    """
    scaled = (int(side * ratio) // STRIDE * STRIDE for side in size)
    height, width = (min(LARGEST_SIDE, max(STRIDE, side)) for side in scaled)
    return height, width
