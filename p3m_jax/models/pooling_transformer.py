"""The common part of the encoders Swin-T and ViTAE-S: stem, stages and poolings."""

import itertools
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
from flax import nnx

from p3m_jax.models.decoders import STRIDES, Edit, EncoderShape, Features, unedited
from p3m_jax.models.layers import Convolution, LayerNorm, Linear, recomputed
from p3m_jax.models.ops.activation import relu_before_norm
from p3m_jax.models.ops.pooling import max_pool


class PoolingTransformer(nnx.Module):
    """A transformer of four stages after a convolutional stem, with max pooling as downsampling.

    The output of each stage is normalised and passed to the decoders. It is then pooled and widened
    for the next stage.

    Args:
      shape: the encoder's `EncoderShape`.
      stages: the four stages. A subclass defines `run_stage`, which runs one of them.
      stem_ends_in_relu: whether a ReLU follows the stem's third convolution, before the norm.
      last_stage_has_norm: whether the output of the last stage is normalised, like the others.
    """

    edited_layers = tuple(STRIDES)

    def __init__(
        self,
        shape: EncoderShape,
        stages: Iterable[nnx.Pytree],
        *,
        stem_ends_in_relu: bool,
        last_stage_has_norm: bool,
    ) -> None:
        self.pooling_window = shape.pooling_window
        self.stem_ends_in_relu = stem_ends_in_relu
        first, *widths = shape.channels
        self.stem0 = Convolution(3, shape.shallow, 3)
        self.stem1 = Convolution(shape.shallow, first, 3)
        self.stem2 = Convolution(first, first, 3)
        self.stem_norm = LayerNorm(first)
        self.stages = nnx.List(stages)
        normed = widths if last_stage_has_norm else widths[:-1]
        self.norms = nnx.List(LayerNorm(width) for width in normed)
        self.widen = nnx.List(
            Linear(inputs, outputs, bias=False) for inputs, outputs in itertools.pairwise(widths)
        )

    @staticmethod
    def run_stage(stage: Any, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        """Runs one stage on a map (B, h, w, C), and returns a map of the same shape.

        `key` draws the stage's random choices in training.
        """
        raise NotImplementedError

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
        """Encodes (B, H, W, 3), normalised, H and W multiples of 32.

        `key` draws the stochastic depth. With `remat` the gradient recomputes the stages instead of
        storing the maps inside them. `edit` sees the maps that the decoders receive: after the norm
        where there is one, and before pooling.
        """
        keys: jax.Array | list[None] = [None] * len(self.stages)
        if train and key is not None:
            keys = jax.random.split(key, len(self.stages))
        shallow = edit("stem", nnx.relu(self.stem0(x)))
        x, positions = max_pool(shallow, self.pooling_window)
        x = edit("level0", nnx.relu(self.stem1(x)))
        levels, offsets = [x], [positions]
        x, positions = max_pool(x, self.pooling_window)
        offsets.append(positions)
        x = self.stem2(x)
        if self.stem_ends_in_relu:
            x = relu_before_norm(x)
        x = self.stem_norm(x)
        for i in range(len(self.stages)):
            run = partial(self.run_stage, train=train, key=keys[i])
            with jax.named_scope(f"stage{i + 1}"):
                x = (recomputed(run) if remat else run)(self.stages[i], x)
            if i < len(self.norms):
                x = self.norms[i](x)
            x = edit(f"stage{i + 1}", x)
            levels.append(x)
            if i < len(self.widen):
                x, positions = max_pool(x, self.pooling_window)
                offsets.append(positions)
                x = self.widen[i](x)
        return Features(shallow, levels, offsets)
