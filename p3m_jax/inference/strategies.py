"""From a network that takes multiples of 32 to the matte of a picture of any size.

Strategies (the papers' names): RESIZE runs once at half size, and the published tables use it;
HYBRID takes the classes from half size and the details from full size, recommended for single
pictures; "native" runs once at full size.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.inference.resizing import Protocol, find_protocol

STRATEGIES = ("resize", "hybrid", "native")
STRIDE = 32  # the network halves its input five times
LARGEST_SIDE = 1600

# float32 (1, H, W, 3) in 0..255, H and W multiples of 32 -> float32 arrays `semantic` (1, H, W, 3)
# logits of background, transition, foreground; `detail` and `fusion` (1, H, W, 1) in [0, 1].
Predict = Callable[[np.ndarray], dict[str, np.ndarray]]
# The same for one map by name: a strategy uses "fusion", or "semantic" and "detail".
PredictMap = Callable[[str, np.ndarray], np.ndarray]


class Placing(NamedTuple):
    """How the network sees a picture; sizes are (height, width).

    Attributes:
      scaled: what the picture is resized to.
      frame: what the network runs at, both sides multiples of 32. Where it is larger, the picture
        lies in its middle, and the picture's outermost pixels are repeated around it.
    """

    scaled: tuple[int, int]
    frame: tuple[int, int]

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (*scaled, C) with what is around them (*frame, C)."""
        if self.scaled == self.frame:
            return pixels
        top, left = self._corner()
        bottom = self.frame[0] - self.scaled[0] - top
        right = self.frame[1] - self.scaled[1] - left
        return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REPLICATE)

    def unframed(self, values: np.ndarray) -> np.ndarray:
        """The part (*scaled, ...) of a map (*frame, ...) that shows the picture."""
        top, left = self._corner()
        return values[top : top + self.scaled[0], left : left + self.scaled[1]]

    def _corner(self) -> tuple[int, int]:
        return (self.frame[0] - self.scaled[0]) // 2, (self.frame[1] - self.scaled[1]) // 2


# (size of the picture, ratio) -> how the network sees it.
PlaceAt = Callable[[tuple[int, int], float], Placing]


def matte_picture(
    predict: Predict,
    picture: np.ndarray,
    *,
    strategy: str = "resize",
    protocol: Protocol | str = "ours",
    smallest_side: int | None = None,
) -> np.ndarray:
    """The alpha matte (H, W), floats in [0, 1], of a picture uint8 (H, W, 3).

    `protocol` decides on the resizing only; what it scores is `protocol.scored(alpha)`. A picture
    with a side below `smallest_side` takes no strategy: it runs once, scaled up so that both sides
    reach that. Sides of less than 32 pixels at the network run at 32. Raises ValueError for other
    pictures and unknown names.
    """

    def predict_map(name, pictures):
        outputs = predict(pictures)
        # All of them: logits that are not numbers would make a fusion of plain zeros.
        for values in outputs.values():
            check_finite(values)
        return outputs[name]

    if smallest_side is not None and min(picture.shape[:2]) < smallest_side:
        strategy = "native"
        ratio = max(smallest_side / side for side in picture.shape[:2])
        return matte_by_maps(
            predict_map,
            picture,
            strategy=strategy,
            protocol=protocol,
            place_at=lambda size, _: whole_frame(size, ratio),
        )
    return matte_by_maps(predict_map, picture, strategy=strategy, protocol=protocol)


def matte_by_maps(
    predict_map: PredictMap,
    picture: np.ndarray,
    *,
    strategy: str,
    protocol: Protocol | str = "ours",
    place_at: PlaceAt | None = None,
) -> np.ndarray:
    """As `matte_picture`, from a network that is asked for one map at a time.

    What is not asked for need not be computed. `place_at` chooses the network's sizes, default
    `whole_frame`.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {picture.dtype} {picture.shape}.")
    if strategy not in STRATEGIES:
        raise ValueError(f"{strategy}: is no strategy; choose {', '.join(STRATEGIES)}.")
    protocol, full = find_protocol(protocol), picture.shape[:2]
    place_at = place_at or whole_frame

    def run(name, ratio):
        placing = place_at(full, ratio)
        scaled = protocol.resize(picture, placing.scaled)
        scaled *= 255
        framed = placing.framed(scaled.astype(np.float32, copy=False))
        return placing.unframed(np.asarray(predict_map(name, framed[None]))[0])

    if strategy == "hybrid":
        background, foreground = protocol.sure(np.argmax(run("semantic", 0.5), axis=-1), full)
        alpha = protocol.resize(run("detail", 1)[..., 0], full)
        alpha[background] = 0
        alpha[foreground] = 1
    else:
        fusion = run("fusion", 0.5 if strategy == "resize" else 1)[..., 0]
        alpha = protocol.resize(fusion, full)
    return np.clip(alpha, 0, 1, out=alpha)


def check_finite(values: np.ndarray) -> None:
    """Raises ValueError where a network's output is not all numbers."""
    if not np.isfinite(values).all():
        raise ValueError("the network's output is not finite; its weights may be damaged.")


def whole_frame(size: tuple[int, int], ratio: float) -> Placing:
    """The picture at its `network_size`, with nothing around it."""
    fitting = network_size(size, ratio)
    return Placing(fitting, fitting)


def network_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """The (height, width) at which a picture of `size` runs, scaled by `ratio`.

    Each side by itself is cut down to a multiple of 32, at most 1600 and at least 32, so the
    aspect ratio shifts a little.
    """
    scaled = (int(side * ratio) // STRIDE * STRIDE for side in size)
    height, width = (min(LARGEST_SIDE, max(STRIDE, side)) for side in scaled)
    return height, width
