"""The connectivity error CONN: how much of a matte is connected with the portrait.

The definition needs the largest 4-connected component above each of ten thresholds. The areas above
the thresholds are nested, so all components are found in one pass instead of ten. First, each row
of pixels is divided into runs: neighbouring pixels that reach the same thresholds. A portrait of
1.7 megapixels has about 30,000 runs. Then the thresholds are processed from the highest to the
lowest. Two runs that touch are joined once, at the highest threshold that both of them reach.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THRESHOLDS = 10  # thresholds 0.1, 0.2 .. 1.0
# A pixel's connectivity may be lower than its alpha by less than this without being an error.
TOLERANCE = np.float32(0.15)


def connectivity_error(prediction: np.ndarray, matte: np.ndarray) -> float:
    """Computes CONN of two maps, float32 (H, W) in [0, 1].

    CONN is the sum of |phi(prediction) - phi(matte)| over all pixels, divided by 1000. At each
    threshold t, the largest 4-connected component of (prediction >= t and matte >= t) is kept. If
    several are equally large, the one whose first pixel comes first in reading order is kept. For
    each pixel, l is the largest threshold up to which every kept component contains the pixel: 0 if
    already the first one does not contain it, 1 if all contain it. For a pixel of value v, phi(v)
    is 1 - (v - l) where v - l >= 0.15, else 1.
    """
    differs = prediction != matte
    if not differs.any():
        return 0.0
    last = last_connected_level(threshold_levels(np.minimum(prediction, matte)))[differs]
    last = (np.arange(THRESHOLDS + 1) / THRESHOLDS).astype(np.float32)[last]
    phi = []
    for values in (prediction[differs], matte[differs]):
        excess = values - last
        phi.append(np.where(excess >= TOLERANCE, 1 - excess, np.float32(1)))
    return float(np.abs(phi[0] - phi[1]).sum(dtype=np.float64) / 1000)


def threshold_levels(values: np.ndarray) -> np.ndarray:
    """Counts how many of the thresholds each value in [0, 1] reaches: uint8, 0 .. 10.

    A value equal to a threshold reaches it: 153 / 255 reaches 0.6. Rounding does not matter: the
    float32 value nearest to k / 10, multiplied by ten, is exactly k.
    """
    return (values * np.float32(THRESHOLDS)).astype(np.uint8)


def last_connected_level(levels: np.ndarray) -> np.ndarray:
    """Computes ten times l (see `connectivity_error`) for every pixel, uint8 (H, W).

    `levels`, uint8 (H, W), is the result of `threshold_levels` for the pixelwise minimum of
    prediction and matte. A threshold that no pixel reaches has no component, and is skipped.
    """
    start, length = _runs(levels)
    level = levels.ravel()[start]
    upper, lower = _contacts(start, length, levels.shape)
    contact = np.minimum(level[upper], level[lower])  # highest threshold at which they touch
    order = np.argsort(contact, kind="stable")
    bounds = np.searchsorted(contact[order], np.arange(THRESHOLDS + 2))

    component = np.arange(len(start))  # each run's component at the thresholds processed so far
    last = np.full(len(start), THRESHOLDS, np.uint8)
    for threshold in range(THRESHOLDS, 0, -1):
        touching = order[bounds[threshold] : bounds[threshold + 1]]
        component = _join(component, upper[touching], lower[touching])
        inside = np.flatnonzero(level >= threshold)
        if inside.size == 0:
            continue
        sizes = np.bincount(component[inside], weights=length[inside])[component[inside]]
        largest = component[inside[np.argmax(sizes)]]  # the first in reading order
        # Lower thresholds overwrite higher ones: a pixel leaves at the lowest one possible.
        last[(component != largest) | (level < threshold)] = threshold - 1
    return np.repeat(last, length).reshape(levels.shape)


def _runs(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first pixel (in reading order) and the length of each run of equal level.

    Runs are horizontal.
    """
    begins = np.ones(levels.shape, bool)
    np.not_equal(levels[:, 1:], levels[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    return start, np.diff(start, append=levels.size)


def _contacts(
    start: np.ndarray, length: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Finds all pairs of runs that touch (4-connected); returns the first and the second of each.

    In a vertical pair, the first is the upper one; in a horizontal pair, the left one. Two
    overlapping runs in adjacent rows always touch in the column where one of them begins. So
    checking above and below every run's first pixel finds all pairs.
    """
    height, width = shape
    run = np.arange(len(start))
    below = start + width
    has_below = below < height * width
    above = start - width
    has_above = above >= 0
    beside = np.flatnonzero(start % width)  # runs that continue a row
    # The run that holds a pixel is the last one that begins at or before it.
    upper = [run[has_below], np.searchsorted(start, above[has_above], "right") - 1, beside - 1]
    lower = [np.searchsorted(start, below[has_below], "right") - 1, run[has_above], beside]
    return np.concatenate(upper), np.concatenate(lower)


def _join(component: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Joins the components of the runs `first` with those of the runs `second`.

    A component is identified by the number of one of its runs. Only components that touch are
    passed to the graph search, because its cost depends on the number of nodes.
    """
    first, second = component[first], component[second]
    touched = np.zeros(len(component), bool)
    touched[first] = touched[second] = True
    nodes = np.flatnonzero(touched)
    if nodes.size == 0:
        return component
    number = np.cumsum(touched) - 1
    edges = (np.ones(first.size, bool), (number[first], number[second]))
    graph = coo_array(edges, shape=(nodes.size, nodes.size))
    _, joined = connected_components(graph, directed=False)
    member = np.empty_like(nodes)
    member[joined] = nodes  # any one component of each joined group
    successor = np.arange(len(component))
    successor[nodes] = member[joined]
    return successor[component]
