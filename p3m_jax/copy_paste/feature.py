"""P3M-FCP: faces of source pictures, pasted among the target's features inside the network.

Source pictures pass the encoder's leading layers as the target pictures do. At each layer of a
list their features are warped onto the target's face, and D' = (1 - W) D_T + W warp(D_S) takes the
place of the target's features D_T: the layer's pooling and everything after it, the decoders too,
see D' alone. Inference knows nothing of it, and a checkpoint is that of the plain network.

A batch that is pasted into holds, besides what every batch does, for S x S target pictures and Bs
source pictures of Sc x Sc:

    facemask      (B, S, S, 1) uint8 {0, 255}   the target's face, without the transition area
    paste         (B,) bool                     whether this example gets a face at all
    paste_matrix  (B, 2, 3) float32             from the target's pixels to the source's
    source        (Bs, Sc, Sc, 3) uint8         RGB, the same on all devices and hosts
    source_mask   (Bs, Sc, Sc, 1) uint8         the source's face

A matrix takes a point (x, y, 1) of the target picture to a point (x, y) of the source's canvas,
both in pixels, pixel i having its centre at i + 0.5. Example i takes source i mod Bs.

What the papers leave open is decided so:

- A source face fills its picture, a target's does not. Warped as it is, its features would be
  sampled too thinly (aliasing), and they would be those of a face seen from nearer. So the source
  is shrunk before the encoder, with a filter, until its face is about as large as the target's. One
  source serves several targets: it is shrunk once, by the geometric mean of what they would ask
  for, over the pasted examples of the whole batch; what remains is left to the warp. It is never
  enlarged: a warp that enlarges does not alias.
- The source branch runs in evaluation mode. The batch's statistics are those of the targets
  alone, so nothing of a source gets into the running ones, and a source's features do not depend
  on what else is in its small batch. The running statistics that it is normalised by describe the
  targets' well by the time pasting starts.
- A cell is inside a mask where the mean of the mask over it is above 1/2.
- No gradient goes into the source branch unless asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from p3m_jax.models.decoders import STRIDES, Edit
from p3m_jax.models.network import Network, Variables

Batch = Mapping[str, jax.Array]

# Beyond an eighth the face of a canvas of 256 pixels would be some 20 pixels wide.
MOST_SHRUNK = 1 / 8


@dataclass(frozen=True)
class FeaturePaste:
    """How features are pasted.

    Attributes:
      layers: where, of the network's `layers`.
      stop_gradient: the source branch is not trained.
      source_from: the weights of the source branch, "live" or "average" (a moving average).
    """

    layers: tuple[str, ...]
    stop_gradient: bool = True
    source_from: str = "live"


def replicated_entries() -> frozenset[str]:
    """The entries of a batch that are whole on every device; all others are cut along the batch."""
    return frozenset({"source", "source_mask"})


def pasting_edit(
    network: Network,
    variables: Variables,
    batch: Batch,
    paste: FeaturePaste,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Edit:
    """The `Edit` for `Network.apply` that pastes into the features of a batch's pictures.

    `variables` are those of the source branch, `dtype` is as in `Network.apply`.

    Raises:
      ValueError: the batch lacks an entry, or the network a layer.
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

    def edit(layer, target):
        if layer not in paste.layers:
            return target
        stride = STRIDES[layer]
        inside = paste_area(batch["facemask"], masks, matrices, pasted, stride)
        warped = warp(sources[layer], matrices, stride, target.shape[1:3])
        return jnp.where(inside, warped, target)

    return edit


def shrinking(matrices: jax.Array, pasted: jax.Array) -> jax.Array:
    """By what factor in [1/8, 1] to shrink the sources, a scalar: 1 where nothing is pasted.

    A matrix (2, 3) of determinant d has sqrt |d| pixels of the source to one of the target; the
    factor is the geometric mean of 1 / sqrt |d| over the `pasted` (B,) of the matrices (B, 2, 3).
    """
    determinants = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]
    logarithms = -0.5 * jnp.log(jnp.maximum(jnp.abs(determinants), 1e-12))
    total = jnp.sum(jnp.where(pasted, logarithms, 0))
    return jnp.clip(jnp.exp(total / jnp.maximum(jnp.sum(pasted), 1)), MOST_SHRUNK, 1)


def shrink(pictures: jax.Array, masks: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pictures (B, S, S, 3) and masks (B, S, S, 1), uint8, about their centre, size unchanged.

    The pictures come back in [0, 255] with their edges drawn out around them, the masks in [0, 1]
    with 0 there. The filter is a triangle two output pixels wide: nothing of the source is skipped,
    and at a factor of 1 it is the identity, to the bit.
    """
    size = pictures.shape[1]
    centres = jnp.arange(size, dtype=jnp.float32) + 0.5
    at = size / 2 + (centres - size / 2) / factor
    distances = jnp.abs(jnp.clip(at, 0.5, size - 0.5)[:, None] - centres) * factor
    weights = jnp.maximum(1 - distances, 0)
    weights /= jnp.sum(weights, axis=1, keepdims=True)
    on_canvas = jnp.where((at >= 0) & (at <= size), 1.0, 0.0)

    def resample(images, weights):
        # Positions depend on these products, so accelerators must not round their inputs.
        highest = jax.lax.Precision.HIGHEST
        rows = jnp.einsum("ik,bkjc->bijc", weights, images.astype(jnp.float32), precision=highest)
        return jnp.einsum("jk,bikc->bijc", weights, rows, precision=highest)

    return resample(pictures, weights), resample(masks, weights * on_canvas[:, None]) / 255


def shrunk_matrices(matrices: jax.Array, factor: jax.Array, centre: float) -> jax.Array:
    """The matrices (B, 2, 3) onto the source's canvas after it was shrunk about its centre."""
    shift = jnp.asarray([[0, 0, centre], [0, 0, centre]], matrices.dtype)
    return factor * (matrices - shift) + shift


def paste_area(
    facemask: jax.Array, masks: jax.Array, matrices: jax.Array, pasted: jax.Array, stride: int
) -> jax.Array:
    """W of each example at a layer's resolution, bool (B, S / stride, S / stride, 1).

    Inside the target's `facemask` (B, S, S, 1) uint8 and the warped source mask, of which `masks`
    (Bs, Sc, Sc, 1) are in [0, 1]; nowhere in an example that is not `pasted` (B,).
    """
    target = cell_means(facemask.astype(jnp.float32) / 255, stride) > 0.5
    source = warp(cell_means(masks, stride), matrices, stride, target.shape[1:3], empty=True)
    return target & (source > 0.5) & pasted[:, None, None, None]


def cell_means(maps: jax.Array, stride: int) -> jax.Array:
    """(B, H, W, C) -> (B, H / stride, W / stride, C), the means over the cells."""
    batch, height, width, channels = maps.shape
    cells = maps.reshape(batch, height // stride, stride, width // stride, stride, channels)
    return jnp.mean(cells, axis=(2, 4))


def warp(
    maps: jax.Array,
    matrices: jax.Array,
    stride: int,
    shape: tuple[int, int],
    *,
    empty: bool = False,
) -> jax.Array:
    """Maps (Bs, h, w, C) as the targets see them: (B, *shape, C), bilinear, both of that stride.

    Target i sees map i mod Bs through its matrix (2, 3). Around a map there is its edge, or 0 where
    `empty`. Dense gathers along flattened positions, which depend on the example alone: with the
    maps on every device and the matrices cut along the batch nothing is sent.
    """
    sources, height, width, channels = maps.shape
    rows = (jnp.arange(shape[0], dtype=matrices.dtype) + 0.5)[:, None] * stride
    columns = (jnp.arange(shape[1], dtype=matrices.dtype) + 0.5)[None, :] * stride
    a = matrices[:, :, :, None, None]
    # Written out: a product of matrices would be rounded on accelerators.
    x = (a[:, 0, 0] * columns + a[:, 0, 1] * rows + a[:, 0, 2]) / stride - 0.5
    y = (a[:, 1, 0] * columns + a[:, 1, 1] * rows + a[:, 1, 2]) / stride - 0.5
    left, top = jnp.floor(x), jnp.floor(y)
    first = (jnp.arange(len(matrices)) % sources * (height * width))[:, None, None]
    flat = maps.reshape(-1, channels)

    def corner(row, column):
        """Where in `flat` it is, and its weight."""
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
    # A reduction, not a sum of four: the compiler copies sums into everything that looks at the
    # features, and keeps the four large maps until the last of these has done so.
    return jnp.sum(weight[..., None].astype(maps.dtype) * values, axis=0)
