"""The two decoders of P3M-Net: semantic segmentation and matting (Section 4.2 of the paper)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from flax import nnx

from p3m_jax.models.integration import (
    DeepBipartiteFeatureIntegration,
    ShallowBipartiteFeatureIntegration,
    TripartiteFeatureIntegration,
)
from p3m_jax.models.layers import Convolution, ConvolutionBlock
from p3m_jax.models.ops.pooling import max_unpool
from p3m_jax.models.ops.precision import at_least_float32
from p3m_jax.models.ops.upsampling import upsample

# Takes a layer's name and features and gives the features that everything after them sees.
Edit = Callable[[str, jax.Array], jax.Array]

# The layers of the encoders that an `Edit` is called at, in their order, and by how much the map is
# smaller than the picture: E0, e0, e1, e2, e3, E4. A cell (i, j) has its centre at the picture's
# point (stride * (j + 0.5), stride * (i + 0.5)).
STRIDES = {"stem": 1, "level0": 2, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}


def unedited(layer: str, features: jax.Array) -> jax.Array:
    """The `Edit` that changes nothing."""
    return features


@dataclass(frozen=True)
class EncoderShape:
    """What the decoders must know of an encoder, and where the published decoders differ by it.

    Attributes:
      channels: of e0 (after the first pooling), e1, e2, e3 and E4.
      shallow: channels of E0, the full-resolution map.
      pooling_window: 2 or 3, the window of its five max poolings.
      widths_change_last: a decoder block changes its channels at its third convolution (ResNet-34)
        instead of its first.
      logits_before_upsampling: the semantic head makes its logits at half resolution (ResNet-34)
        instead of by a further convolution at full resolution.
    """

    channels: tuple[int, int, int, int, int]
    shallow: int
    pooling_window: int
    widths_change_last: bool
    logits_before_upsampling: bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Features:
    """What an encoder gives for an input of (B, H, W, 3).

    Attributes:
      shallow: E0 (B, H, W, C0).
      levels: e0 (B, H/2, W/2, ..), e1 (H/4), e2 (H/8), e3 (H/16), E4 (H/32).
      offsets: what each of the five poolings remembers, uint8, from H/2 to H/32.
    """

    shallow: jax.Array
    levels: list[jax.Array]
    offsets: list[jax.Array]


class DecoderBlock(nnx.Module):
    """Three times convolution 3x3, BatchNorm, ReLU, changing the channels once."""

    def __init__(self, inputs: int, outputs: int, shape: EncoderShape):
        inner = inputs if shape.widths_change_last else outputs
        self.first = ConvolutionBlock(inputs, inner)
        self.second = ConvolutionBlock(inner, inner)
        self.third = ConvolutionBlock(inner, outputs)

    @jax.named_scope("block")
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for convolution in (self.first, self.second, self.third):
            x = convolution(x, train=train)
        return x


def _blocks(shape: EncoderShape) -> dict[int, DecoderBlock]:
    """Blocks 4 to 1: from the channels of level k to those of level k - 1, the last to its own."""
    widths = shape.channels
    return {k: DecoderBlock(widths[k], widths[k - 1], shape) for k in (4, 3, 2, 1)}


class SemanticDecoder(nnx.Module):
    """From E4 to the logits of background, transition and foreground."""

    def __init__(self, shape: EncoderShape):
        channels, deep = shape.channels, shape.channels[4]
        blocks = _blocks(shape)
        self.block4, self.block3 = blocks[4], blocks[3]
        self.block2, self.block1 = blocks[2], blocks[1]
        self.dbfi2 = DeepBipartiteFeatureIntegration(channels[2], deep)
        self.dbfi1 = DeepBipartiteFeatureIntegration(channels[1], deep)
        self.dbfi0 = DeepBipartiteFeatureIntegration(channels[0], deep)
        self.head = SemanticHead(channels[0], shape)

    @jax.named_scope("semantic")
    def __call__(self, features: Features, *, train: bool):
        """Returns S4 (B, H/16, ..), S3, S2 and S1 (B, H/2, ..) as a dict by level, the logits
        (B, H, W, 3), and the side logits (side2, side1, side0), each (B, H, W, 3).
        """
        deep = features.levels[4]
        semantic = {4: upsample(self.block4(deep, train=train), 2)}
        semantic[3] = upsample(self.block3(semantic[4], train=train), 2)
        enriched, side2 = self.dbfi2(semantic[3], deep, train=train)
        semantic[2] = upsample(self.block2(enriched, train=train), 2)
        enriched, side1 = self.dbfi1(semantic[2], deep, train=train)
        semantic[1] = upsample(self.block1(enriched, train=train), 2)
        enriched, side0 = self.dbfi0(semantic[1], deep, train=train)
        return semantic, self.head(enriched, train=train), (side2, side1, side0)


class SemanticHead(nnx.Module):
    """From the enriched S1 (B, H/2, W/2, C) to logits (B, H, W, 3)."""

    def __init__(self, inputs: int, shape: EncoderShape):
        width = shape.shallow
        self.first = ConvolutionBlock(inputs, width)
        self.second = ConvolutionBlock(width, width)
        self.third = Convolution(width, 3 if shape.logits_before_upsampling else width, 3)
        self.logits = None if shape.logits_before_upsampling else Convolution(width, 3, 3)

    @jax.named_scope("head")
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.second(self.first(x, train=train), train=train)
        x = upsample(self.third(x), 2)
        return x if self.logits is None else self.logits(x)


class MattingDecoder(nnx.Module):
    """From E4, led by the semantic decoder, to the detail alpha."""

    def __init__(self, shape: EncoderShape):
        channels, shallow = shape.channels, shape.shallow
        self.pooling_window = shape.pooling_window
        blocks = _blocks(shape)
        self.block4, self.block3 = blocks[4], blocks[3]
        self.block2, self.block1 = blocks[2], blocks[1]
        self.tfi3 = TripartiteFeatureIntegration(channels[3])
        self.tfi2 = TripartiteFeatureIntegration(channels[2])
        self.tfi1 = TripartiteFeatureIntegration(channels[1])
        self.tfi0 = TripartiteFeatureIntegration(channels[0])
        self.sbfi2 = ShallowBipartiteFeatureIntegration(channels[2], shallow)
        self.sbfi1 = ShallowBipartiteFeatureIntegration(channels[1], shallow)
        self.sbfi0 = ShallowBipartiteFeatureIntegration(channels[0], shallow)
        self.first = ConvolutionBlock(channels[0], shallow)
        self.second = ConvolutionBlock(shallow, shallow)
        self.alpha = Convolution(shallow, 1, 3)

    @jax.named_scope("matting")
    def __call__(self, features: Features, semantic: dict[int, jax.Array], *, train: bool):
        """Returns the detail alpha (B, H, W, 1) in [0, 1]."""
        e0, e1, e2, e3, deep = features.levels
        shallow = features.shallow

        def unpool(x, level):
            return max_unpool(x, features.offsets[level], self.pooling_window)

        x = unpool(self.block4(deep, train=train), 4)
        x = self.tfi3(semantic[4], x, e3, train=train)
        x = unpool(self.block3(x, train=train), 3)
        x = self.tfi2(semantic[3], x, e2, train=train)
        x = self.sbfi2(x, shallow, train=train)
        x = unpool(self.block2(x, train=train), 2)
        x = self.tfi1(semantic[2], x, e1, train=train)
        x = self.sbfi1(x, shallow, train=train)
        x = unpool(self.block1(x, train=train), 1)
        x = self.tfi0(semantic[1], x, e0, train=train)
        x = self.sbfi0(x, shallow, train=train)
        x = unpool(self.second(self.first(x, train=train), train=train), 0)
        return nnx.sigmoid(at_least_float32(self.alpha(x)))
