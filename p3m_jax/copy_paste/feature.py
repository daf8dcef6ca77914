"""P3M-FCP: pastes faces of source pictures into the target's features, inside the network.

Source pictures pass through the encoder's leading layers like the target pictures. This second pass
is called the source branch. At each chosen layer, the source's features D_S are warped onto the
target's face. Inside the area to paste, W, the warped features replace the target's features D_T:
D' = (1 - W) D_T + W warp(D_S). The rest of the network, including the layer's pooling and the
decoders, sees only D'. Inference does not use any of this, so checkpoints have the same form as
without pasting.

A batch for pasting has more entries than other batches. For S x S target pictures and Bs source
pictures of Sc x Sc they are:

    facemask      (B, S, S, 1) uint8 {0, 255}   the target's face, without the transition area
    paste         (B,) bool                     whether a face is pasted into this example
    paste_matrix  (B, 2, 3) float32             from the target's pixels to the source's
    source        (Bs, Sc, Sc, 3) uint8         RGB, the same on all devices and hosts
    source_mask   (Bs, Sc, Sc, 1) uint8         the source's face

A matrix maps a point (x, y, 1) of the target picture to a point (x, y) of the source's canvas, both
in pixels; the centre of pixel i is at i + 0.5. Example i uses source i mod Bs.

The papers leave some questions open. We decided:

- A source face fills its picture, but a target face is only a part of its picture. If the source
  were warped at full size, its features would be sampled too sparsely (aliasing). The features
  would also be those of a larger face. So before the encoder, a filter shrinks the source until
  its face is about as large as the target's. Each example needs its own factor, but all sources
  are shrunk by the same one: the geometric mean over the examples of the batch that get a face.
  The warp then scales the features to the size of each target's face.
  The source is never enlarged, because a warp that enlarges does not alias.
- The source branch runs in evaluation mode. So the batch statistics are those of the targets only,
  and the sources do not affect the running statistics. A source's features do not depend on the
  other sources in its small batch. The source is normalised by the running statistics, which
  are close to those of a batch of targets by the time pasting starts.
- A cell is inside a mask if the mask's mean over the cell is above 1/2.
- No gradient flows into the source branch, unless `stop_gradient` is False.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from p3m_jax.models.decoders import STRIDES, Edit
from p3m_jax.models.network import Network, Variables

Batch = Mapping[str, jax.Array]

# At this factor, the face on a canvas of 256 pixels is only about 20 pixels wide.
MOST_SHRUNK = 1 / 8


@dataclass(frozen=True)
class FeaturePaste:
    """Settings of pasting at feature level.

    Attributes:
      layers: the names of the layers at which features are pasted, a subset of `Network.layers`.
      stop_gradient: whether to stop the gradient into the encoder's pass over the source pictures.
      source_from: the weights for that pass: "live" (those being trained) or "average" (their
        moving average).
    """

    layers: tuple[str, ...]
    stop_gradient: bool = True
    source_from: str = "live"


def replicated_entries() -> frozenset[str]:
    """Lists the batch entries that every device holds in full; others are split along the batch."""
    return frozenset({"source", "source_mask"})


def pasting_edit(
    network: Network,
    variables: Variables,
    batch: Batch,
    paste: FeaturePaste,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Edit:
    """Computes the sources' features, and returns a function that pastes them into the targets'.

    Pass this function to `Network.apply` as `edit`.

    Args:
      variables: the weights and statistics with which the sources' features are computed.
      batch: must contain the entries that this module's docstring lists.
      dtype: as in `Network.apply`.

    Raises:
      ValueError: the batch lacks an entry, or the network lacks a layer.
    """
    expected = {"facemask", "paste", "paste_matrix", *replicated_entries()}
    if not expected <= batch.keys():
        raise ValueError(f"The batch lacks {', '.join(sorted(expected - batch.keys()))}.")
    if not set(paste.layers) <= set(network.layers):
        raise ValueError(f"{network.name} has the layers {network.layers}, not {paste.layers}.")
    if paste.stop_gradient:
        variables = jax.lax.stop_gradient(variables)
    pasted = batch["paste"] & jnp.any(batch["facemask"] > 0, axis=(1, 2, 3))
    factor = shrinking(batch["paste_matrix"], pasted)
    pictures, masks = shrink(batch["source"], batch["source_mask"], factor)
    centre = batch["source"].shape[1] / 2
    matrices = shrunk_matrices(batch["paste_matrix"], factor, centre)
    sources = network.features(variables, pictures, paste.layers, dtype=dtype)

    def edit(layer: str, target: jax.Array) -> jax.Array:
        if layer not in paste.layers:
            return target
        stride = STRIDES[layer]
        inside = paste_area(batch["facemask"], masks, matrices, pasted, stride)
        warped = warp(sources[layer], matrices, stride, target.shape[1:3])
        return jnp.where(inside, warped, target)

    return edit


def shrinking(matrices: jax.Array, pasted: jax.Array) -> jax.Array:
    """Computes the factor in [1/8, 1] by which to shrink the sources; 1 if nothing is pasted.

    The factor is the geometric mean of 1 / sqrt |d| over the examples that get a face. Here d is
    the determinant of the left 2 x 2 part of an example's matrix: one pixel of the target is as
    wide as sqrt |d| pixels of the source. The mean is then limited to [1/8, 1].

    Args:
      matrices: from the targets' pixels to the sources', (B, 2, 3).
      pasted: whether a face is pasted into each example, bool (B,).
    """
    determinants = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]
    logarithms = -0.5 * jnp.log(jnp.maximum(jnp.abs(determinants), 1e-12))
    total = jnp.sum(jnp.where(pasted, logarithms, 0))
    return jnp.clip(jnp.exp(total / jnp.maximum(jnp.sum(pasted), 1)), MOST_SHRUNK, 1)


def shrink(pictures: jax.Array, masks: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shrinks pictures (B, S, S, 3) and masks (B, S, S, 1), uint8, about their centres.

    The canvas keeps its size. The pictures are returned in [0, 255] with replicated edges around
    them, the masks in [0, 1] with 0 around them. The filter is a triangle two output pixels wide:
    no pixel of the source is skipped, and a factor of 1 is the identity, bit for bit.
    """
    size = pictures.shape[1]
    centres = jnp.arange(size, dtype=jnp.float32) + 0.5
    at = size / 2 + (centres - size / 2) / factor
    distances = jnp.abs(jnp.clip(at, 0.5, size - 0.5)[:, None] - centres) * factor
    weights = jnp.maximum(1 - distances, 0)
    weights /= jnp.sum(weights, axis=1, keepdims=True)
    on_canvas = jnp.where((at >= 0) & (at <= size), 1.0, 0.0)

    def resample(images: jax.Array, weights: jax.Array) -> jax.Array:
        # Positions depend on these products, so accelerators must not round their inputs.
        highest = jax.lax.Precision.HIGHEST
        rows = jnp.einsum("ik,bkjc->bijc", weights, images.astype(jnp.float32), precision=highest)
        return jnp.einsum("jk,bikc->bijc", weights, rows, precision=highest)

    return resample(pictures, weights), resample(masks, weights * on_canvas[:, None]) / 255


def shrunk_matrices(matrices: jax.Array, factor: jax.Array, centre: float) -> jax.Array:
    """Adapts matrices (B, 2, 3) to source canvases that are shrunk by `factor`.

    `centre` is the coordinate, in x and in y, of the point that the shrinking leaves in place.
    """
    shift = jnp.asarray([[0, 0, centre], [0, 0, centre]], matrices.dtype)
    return factor * (matrices - shift) + shift


def paste_area(
    facemask: jax.Array, masks: jax.Array, matrices: jax.Array, pasted: jax.Array, stride: int
) -> jax.Array:
    """Returns the area to paste, W, at a layer's resolution: bool (B, S / stride, S / stride, 1).

    It is the intersection of the target's face and the warped face of the source. It is all False
    for an example that is not `pasted`.

    Args:
      facemask: the targets' face masks, uint8 (B, S, S, 1).
      masks: the sources' face masks, (Bs, Sc, Sc, 1) in [0, 1].
      matrices: from the targets' pixels to the sources', (B, 2, 3).
      pasted: whether a face is pasted into each example, bool (B,).
      stride: the layer's stride.
    """
    target = cell_means(facemask.astype(jnp.float32) / 255, stride) > 0.5
    source = warp(cell_means(masks, stride), matrices, stride, target.shape[1:3], empty=True)
    return target & (source > 0.5) & pasted[:, None, None, None]


def cell_means(maps: jax.Array, stride: int) -> jax.Array:
    """Averages cells of stride x stride pixels: (B, H, W, C) -> (B, H/stride, W/stride, C)."""
    batch, height, width, channels = maps.shape
    cells = maps.reshape(batch, height // stride, stride, width // stride, stride, channels)
    return jnp.mean(cells, axis=(2, 4))


def warp(
    maps: jax.Array,
    matrices: jax.Array,
    stride: int,
    shape: tuple[int, ...],
    *,
    empty: bool = False,
) -> jax.Array:
    """Warps the sources' maps (Bs, h, w, C) onto the targets, bilinearly: (B, *shape, C).

    Target i gets map i mod Bs. The warp needs no communication between devices if every device
    holds all maps, and the matrices of its own targets.

    Args:
      matrices: from the targets' pixels to the sources', (B, 2, 3).
      stride: the width of a cell of the maps, in pixels.
      shape: height and width of the result, in cells.
      empty: whether the values outside a map are 0; otherwise the map's edge is repeated.
    """
    sources, height, width, channels = maps.shape
    rows = (jnp.arange(shape[0], dtype=matrices.dtype) + 0.5)[:, None] * stride
    columns = (jnp.arange(shape[1], dtype=matrices.dtype) + 0.5)[None, :] * stride
    a = matrices[:, :, :, None, None]
    # Written out, because accelerators would round a product of matrices.
    x = (a[:, 0, 0] * columns + a[:, 0, 1] * rows + a[:, 0, 2]) / stride - 0.5
    y = (a[:, 1, 0] * columns + a[:, 1, 1] * rows + a[:, 1, 2]) / stride - 0.5
    left, top = jnp.floor(x), jnp.floor(y)
    first = (jnp.arange(len(matrices)) % sources * (height * width))[:, None, None]
    flat = maps.reshape(-1, channels)

    def corner(row: jax.Array, column: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the corner's index in `flat`, and its weight."""
        weight = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
        if empty:
            on_map = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = jnp.where(on_map, weight, 0)
        row = jnp.clip(row, 0, height - 1).astype(jnp.int32)
        column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
        return first + row * width + column, weight

    corners = [corner(row, column) for row in (top, top + 1) for column in (left, left + 1)]
    index, weight = (jnp.stack(parts) for parts in zip(*corners, strict=True))
    values = jnp.take(flat, index, axis=0, mode="clip")
    # A reduction instead of a sum of four: the compiler copies sums into every operation that reads
    # the features, and keeps the four large maps until the last of these is done.
    return jnp.sum(weight[..., None].astype(maps.dtype) * values, axis=0)
