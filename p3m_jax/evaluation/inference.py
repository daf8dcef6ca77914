"""From a network that takes multiples of 32 to the matte of a picture of any size.

Strategies (the papers' names): RESIZE runs once at half size, and the published tables use it;
HYBRID takes the classes from half size and the details from full size, recommended for single
pictures; "native" runs once at full size.
"""

from collections.abc import Callable

import numpy as np

from p3m_jax.evaluation.protocols import Protocol, find_protocol

STRATEGIES = ("resize", "hybrid", "native")
STRIDE = 32  # the network halves its input five times
LARGEST_SIDE = 1600

# float32 (1, H, W, 3) in 0..255, H and W multiples of 32 -> float32 arrays `semantic` (1, H, W, 3)
# logits of background, transition, foreground; `detail` and `fusion` (1, H, W, 1) in [0, 1].
Predict = Callable[[np.ndarray], dict[str, np.ndarray]]


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
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {picture.dtype} {picture.shape}.")
    if strategy not in STRATEGIES:
        raise ValueError(f"{strategy}: is no strategy; choose {', '.join(STRATEGIES)}.")
    protocol = find_protocol(protocol)
    size = picture.shape[:2]
    if smallest_side is not None and min(size) < smallest_side:
        ratio = max(smallest_side / side for side in size)
        alpha = _fusion(predict, picture, network_size(size, ratio), protocol)
    elif strategy == "hybrid":
        alpha = _hybrid(predict, picture, protocol)
    else:
        ratio = 0.5 if strategy == "resize" else 1
        alpha = _fusion(predict, picture, network_size(size, ratio), protocol)
    return np.clip(alpha, 0, 1)


def network_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """The (height, width) at which a picture of `size` runs, scaled by `ratio`.

    Each side by itself is cut down to a multiple of 32, at most 1600 and at least 32, so the
    aspect ratio shifts a little.
    """
    scaled = (int(side * ratio) // STRIDE * STRIDE for side in size)
    height, width = (min(LARGEST_SIDE, max(STRIDE, side)) for side in scaled)
    return height, width


def _fusion(predict, picture, size, protocol) -> np.ndarray:
    alpha = _run(predict, picture, size, protocol)["fusion"][..., 0]
    return protocol.resize(alpha, picture.shape[:2])


def _hybrid(predict, picture, protocol) -> np.ndarray:
    full = picture.shape[:2]
    coarse = _run(predict, picture, network_size(full, 0.5), protocol)["semantic"]
    background, foreground = protocol.sure(np.argmax(coarse, axis=-1), full)
    fine = _run(predict, picture, network_size(full, 1), protocol)["detail"][..., 0]
    alpha = protocol.resize(fine, full)
    alpha[background] = 0
    alpha[foreground] = 1
    return alpha


def _run(predict, picture, size, protocol) -> dict[str, np.ndarray]:
    """The outputs (h, w, C) for the picture resized to `size`."""
    scaled = (protocol.resize(picture, size) * 255).astype(np.float32)
    outputs = {name: np.asarray(values)[0] for name, values in predict(scaled[None]).items()}
    # All of them: logits that are not numbers would make a fusion of plain zeros.
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise ValueError("the network's output is not finite; its weights may be damaged.")
    return outputs
