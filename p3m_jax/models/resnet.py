"""ResNet-34 with max pooling in place of strides, the "MP" variant of the ACM MM paper.

Also this project's own variant with a quarter of the channels.
"""

from dataclasses import replace
from functools import partial

import jax
from flax import nnx

from p3m_jax.models.decoders import STRIDES, Edit, EncoderShape, Features, unedited
from p3m_jax.models.layers import BatchNorm, Convolution, kaiming_fan_out, recomputed
from p3m_jax.models.ops.pooling import max_pool

SHAPE = EncoderShape(
    channels=(64, 64, 128, 256, 512),
    shallow=64,
    pooling_window=3,
    widths_change_last=True,
    logits_before_upsampling=True,
)
QUARTER_SHAPE = replace(SHAPE, channels=(16, 16, 32, 64, 128), shallow=16)
DEPTHS = (3, 4, 6, 3)


def _convolution(inputs: int, outputs: int, kernel: int) -> Convolution:
    return Convolution(inputs, outputs, kernel, bias=False, initializer=kaiming_fan_out)


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions with a skip connection.

    If the number of channels changes, the skip connection has a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.convolution1 = _convolution(inputs, outputs, 3)
        self.norm1 = BatchNorm(outputs)
        self.convolution2 = _convolution(outputs, outputs, 3)
        self.norm2 = BatchNorm(outputs)
        widens = inputs != outputs
        self.skip = _convolution(inputs, outputs, 1) if widens else None
        self.skip_norm = BatchNorm(outputs) if widens else None

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = nnx.relu(self.norm1(self.convolution1(x), train=train))
        y = self.norm2(self.convolution2(y), train=train)
        if self.skip is not None and self.skip_norm is not None:
            x = self.skip_norm(self.skip(x), train=train)
        return nnx.relu(x + y)


def _run_stage(stage: nnx.List, x: jax.Array, *, train: bool) -> jax.Array:
    for block in stage:
        x = block(x, train=train)
    return x


class ResNet34(nnx.Module):
    """ResNet-34 without strides: five 3x3 max poolings, after the stem and before each stage."""

    # Level 0 has no layer of its own: e0 is only E0 after pooling.
    edited_layers = tuple(layer for layer in STRIDES if layer != "level0")

    def __init__(self, shape: EncoderShape = SHAPE) -> None:
        self.shape = shape
        self.stem = _convolution(3, shape.shallow, 7)
        self.stem_norm = BatchNorm(shape.shallow)
        self.stages = nnx.List(
            nnx.List(
                BasicBlock(inputs if block == 0 else outputs, outputs) for block in range(depth)
            )
            for depth, inputs, outputs in zip(
                DEPTHS, shape.channels[:-1], shape.channels[1:], strict=True
            )
        )

    @jax.named_scope("encoder")
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        edit: Edit = unedited,
        remat: bool = False,
    ) -> Features:
        """Encodes (B, H, W, 3), normalised, H and W multiples of 32; `key` is not used.

        With `remat` the gradient recomputes the stages instead of storing the maps inside them.
        `edit` sees the maps that the decoders receive, before pooling.
        """
        window = self.shape.pooling_window
        shallow = edit("stem", nnx.relu(self.stem_norm(self.stem(x), train=train)))
        x, positions = max_pool(shallow, window)
        levels, offsets = [x], [positions]
        for i, stage in enumerate(self.stages):
            x, positions = max_pool(x, window)
            run = partial(_run_stage, train=train)
            with jax.named_scope(f"stage{i + 1}"):
                x = (recomputed(run) if remat else run)(stage, x)
            x = edit(f"stage{i + 1}", x)
            levels.append(x)
            offsets.append(positions)
        return Features(shallow, levels, offsets)


class QuarterResNet34(ResNet34):
    """ResNet-34 with a quarter of the channels, small enough to train on a few processor cores.

    P3M-Net with it has 2.4 million parameters instead of 39.0 million. It is in no paper.
    """

    def __init__(self) -> None:
        super().__init__(QUARTER_SHAPE)
