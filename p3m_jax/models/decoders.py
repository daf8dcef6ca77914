"""The two decoders of P3M-Net: semantic segmentation and matting (Section 4.2 of the paper)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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

# Called with a layer's name and its features; returns the features that all later layers use.
Edit = Callable[[str, jax.Array], jax.Array]

# The encoder layers where an `Edit` is called, in order (E0, e0, e1, e2, e3, E4), each with the
# factor by which its map is smaller than the picture. The centre of cell (i, j) is at the picture's
# point (stride * (j + 0.5), stride * (i + 0.5)).
STRIDES = {"stem": 1, "level0": 2, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}


def unedited(layer: str, features: jax.Array) -> jax.Array:
    """Returns the features unchanged.

    This is the default `Edit`, the function that an encoder calls at its named layers.
    """
    return features


@dataclass(frozen=True)
class EncoderShape:
    """The properties of an encoder that determine the shapes and the variant of the decoders.

    Attributes:
      channels: channel counts of the encoder's five pooled maps, from 1/2 to 1/32 of the picture's
        size. They are called e0, e1, e2, e3 and E4.
      shallow: channel count of the encoder's full-resolution map, called E0 (not e0).
      pooling_window: window size of the five max poolings, 2 or 3.
      widths_change_last: whether the third convolution of a decoder block changes the number of
        channels (ResNet-34), rather than the first.
      logits_before_upsampling: whether the semantic head computes its logits at half resolution and
        upsamples them (ResNet-34). Otherwise one more convolution computes them at full resolution.
    """

    channels: tuple[int, int, int, int, int]
    shallow: int
    pooling_window: int
    widths_change_last: bool
    logits_before_upsampling: bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Features:
    """An encoder's output for an input of (B, H, W, 3).

    Attributes:
      shallow: E0 (B, H, W, C0), the map before the first pooling.
      levels: the five maps e0 (B, H/2, W/2, C), e1 (H/4), e2 (H/8), e3 (H/16) and E4 (H/32), with
        the channel counts of `EncoderShape.channels`.
      offsets: one uint8 array for each of the five poolings, from height H/2 to H/32: where in its
        window each maximum was, see `max_pool`.
    """

    shallow: jax.Array
    levels: list[jax.Array]
    offsets: list[jax.Array]


class Encoder(Protocol):
    """The interface of an encoder for P3M-Net.

    It encodes normalised pictures (B, H, W, 3), whose sides are multiples of 32, as `Features`.
    """

    @property
    def shape(self) -> EncoderShape: ...

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        edit: Edit = unedited,
        remat: bool = False,
    ) -> Features: ...


class DecoderBlock(nnx.Module):
    """Three 3x3 convolutions, each with BatchNorm and ReLU.

    Only one of them changes the number of channels: the third if
    `EncoderShape.widths_change_last` is True, else the first.
    """

    def __init__(self, inputs: int, outputs: int, shape: EncoderShape) -> None:
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
    """Makes blocks 4 to 1; block k maps the channels of level k to those of level k - 1."""
    widths = shape.channels
    return {k: DecoderBlock(widths[k], widths[k - 1], shape) for k in (4, 3, 2, 1)}


class SemanticDecoder(nnx.Module):
    """Computes the logits of background, transition and foreground from the encoder's E4."""

    def __init__(self, shape: EncoderShape) -> None:
        channels, deep = shape.channels, shape.channels[4]
        blocks = _blocks(shape)
        self.block4, self.block3 = blocks[4], blocks[3]
        self.block2, self.block1 = blocks[2], blocks[1]
        self.dbfi2 = DeepBipartiteFeatureIntegration(channels[2], deep)
        self.dbfi1 = DeepBipartiteFeatureIntegration(channels[1], deep)
        self.dbfi0 = DeepBipartiteFeatureIntegration(channels[0], deep)
        self.head = SemanticHead(channels[0], shape)

    @jax.named_scope("semantic")
    def __call__(
        self, features: Features, *, train: bool
    ) -> tuple[dict[int, jax.Array], jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        """Decodes the features.

        Returns:
          The maps S4 (B, H/16, ..), S3, S2 and S1 (B, H/2, ..) as a dict by level, the logits
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
    """Computes the logits (B, H, W, 3) from the semantic decoder's last map (B, H/2, W/2, C)."""

    def __init__(self, inputs: int, shape: EncoderShape) -> None:
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
    """Computes the detail alpha from the encoder's features and the semantic decoder's maps."""

    def __init__(self, shape: EncoderShape) -> None:
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
    def __call__(
        self, features: Features, semantic: dict[int, jax.Array], *, train: bool
    ) -> jax.Array:
        """Returns the detail alpha (B, H, W, 1) in [0, 1]."""
        e0, e1, e2, e3, deep = features.levels
        shallow = features.shallow

        def unpool(x: jax.Array, level: int) -> jax.Array:
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
