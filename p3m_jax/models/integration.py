"""The integration modules of P3M-Net: TFI, sBFI and dBFI (Section 4.3 of the ACM MM paper).

Each module joins maps of the encoder and the decoders into a map of C channels. It first projects
every input to C / 2 channels, by a 1x1 convolution without bias.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from p3m_jax.models.layers import Convolution, ConvolutionBlock
from p3m_jax.models.ops.pooling import max_pool
from p3m_jax.models.ops.upsampling import upsample


def _projection(inputs: int, outputs: int) -> Convolution:
    return Convolution(inputs, outputs, 1, bias=False)


class TripartiteFeatureIntegration(nnx.Module):
    """TFI: joins the semantic decoder, the matting decoder and the encoder at one resolution.

    The same 1x1 convolution reduces the channels of all three inputs, as in the published program.
    """

    def __init__(self, channels: int) -> None:
        self.project = _projection(channels, channels // 2)
        self.fuse = ConvolutionBlock(3 * (channels // 2), channels, bias=False)

    @jax.named_scope("TFI")
    def __call__(
        self, semantic: jax.Array, matting: jax.Array, encoder: jax.Array, *, train: bool
    ) -> jax.Array:
        """Joins three maps (B, h, w, C) into one of the same shape."""
        projected = [self.project(x) for x in (semantic, matting, encoder)]
        return self.fuse(jnp.concatenate(projected, axis=-1), train=train)


class ShallowBipartiteFeatureIntegration(nnx.Module):
    """sBFI: adds the encoder's full-resolution map E0, max-pooled, to the matting decoder."""

    def __init__(self, channels: int, shallow_channels: int) -> None:
        self.project_matting = _projection(channels, channels // 2)
        self.project_shallow = _projection(shallow_channels, channels // 2)
        self.fuse = ConvolutionBlock(channels, channels, bias=False)

    @jax.named_scope("sBFI")
    def __call__(self, matting: jax.Array, shallow: jax.Array, *, train: bool) -> jax.Array:
        """Adds E0 (B, rh, rw, C0) to the map (B, h, w, C); returns (B, h, w, C)."""
        pooled, _ = max_pool(shallow, 2, stride=shallow.shape[1] // matting.shape[1])
        projected = [self.project_matting(matting), self.project_shallow(pooled)]
        return self.fuse(jnp.concatenate(projected, axis=-1), train=train) + matting


class DeepBipartiteFeatureIntegration(nnx.Module):
    """dBFI: adds the encoder's deepest map E4 to the semantic decoder.

    It also computes class logits from the result, for an additional loss: one of `side2`, `side1`
    and `side0` in `Outputs`.
    """

    def __init__(self, channels: int, deep_channels: int) -> None:
        self.project_semantic = _projection(channels, channels // 2)
        self.project_deep = _projection(deep_channels, channels // 2)
        self.fuse = ConvolutionBlock(channels, channels, bias=False)
        self.side = Convolution(channels, 3, 3, bias=False)

    @jax.named_scope("dBFI")
    def __call__(
        self, semantic: jax.Array, deep: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Adds E4 (B, h/r, w/r, C4) to the map (B, h, w, C); returns it with its side logits.

        The enriched map keeps the shape (B, h, w, C). The side logits (B, H, W, 3) have the
        resolution of the network's input, which is 32 times that of E4.
        """
        factor = semantic.shape[1] // deep.shape[1]
        projected = [self.project_semantic(semantic), upsample(self.project_deep(deep), factor)]
        enriched = self.fuse(jnp.concatenate(projected, axis=-1), train=train) + semantic
        return enriched, upsample(self.side(enriched), 32 // factor)
