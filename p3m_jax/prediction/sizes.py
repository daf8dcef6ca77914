"""Sizes at which pictures run: few, so that a folder of mixed ones compiles few programs.

A program is compiled for one size. In evaluation every picture runs at its own
(`p3m_jax.evaluation.inference.network_size`); here it runs at the bucket nearest to that.
"""

import math

from p3m_jax.evaluation.inference import LARGEST_SIDE, STRIDE, network_size

# A bucket is a square, 3:2 (as most photos) or a further step of 1.5, so a picture is stretched by
# at most the root of that, 22 %. Its sides come in steps of the root of 2.
ASPECT_STEP = 1.5
SCALE_STEP = math.sqrt(2)
_SMALLEST_LONG_SIDE = 128  # of what is made smaller to fit into memory


def bucket_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """The bucket (height, width) nearest to the `network_size` of a picture of `size`.

    Nearest in the logarithms of aspect and area; both sides are multiples of 32 from 32 to 1600.
    """
    height, width = network_size(size, ratio)
    aspect = ASPECT_STEP ** round(
        math.log(max(height, width) / min(height, width)) / math.log(ASPECT_STEP)
    )
    # The long side of the rectangle with this aspect and the same area.
    wanted = math.sqrt(height * width * aspect)
    steps = max(0, round(math.log(LARGEST_SIDE / wanted) / math.log(SCALE_STEP)))
    longest = LARGEST_SIDE / SCALE_STEP**steps
    long, short = _multiple(longest), _multiple(longest / aspect)
    return (long, short) if height >= width else (short, long)


def smaller(size: tuple[int, int], factor: float) -> tuple[int, int] | None:
    """`size` with at most `factor` (below 1) of its pixels, in steps of the buckets' scale.

    None where its long side would fall below 128.
    """
    steps = max(1, math.ceil(-math.log(factor) / 2 / math.log(SCALE_STEP) - 1e-9))
    height, width = (_multiple(side / SCALE_STEP**steps) for side in size)
    return (height, width) if max(height, width) >= _SMALLEST_LONG_SIDE else None


def _multiple(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)
