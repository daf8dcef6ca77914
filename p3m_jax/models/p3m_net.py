"""P3M-Net: one encoder, two decoders, and the fusion of their outputs (both papers, Section 4)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from p3m_jax.models.decoders import Edit, Encoder, MattingDecoder, SemanticDecoder, unedited
from p3m_jax.models.ops.precision import at_least_float32

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
BACKGROUND_CLASS, TRANSITION_CLASS, FOREGROUND_CLASS = 0, 1, 2


class Outputs(NamedTuple):
    """P3M-Net's outputs for pictures of (B, H, W, 3), in float32 or higher.

    Attributes:
      semantic: logits (B, H, W, 3) of background, transition and foreground.
      detail: alpha (B, H, W, 1) in [0, 1], for the transition.
      fusion: alpha (B, H, W, 1) in [0, 1], the final matte.
      side2, side1, side0: logits like `semantic`, computed at three levels of the semantic decoder
        for additional losses; `side2` is the coarsest.
    """

    semantic: jax.Array
    detail: jax.Array
    fusion: jax.Array
    side2: jax.Array
    side1: jax.Array
    side0: jax.Array


def normalize(pictures: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Normalises RGB in [0, 255] by ImageNet's mean and standard deviation, as network input.

    The pictures may be of any numeric type; the result is of `dtype`.
    """
    pictures = jnp.asarray(pictures, dtype) / 255
    return (pictures - jnp.asarray(MEAN, dtype)) / jnp.asarray(STANDARD_DEVIATION, dtype)


def fuse(semantic: jax.Array, detail: jax.Array) -> jax.Array:
    """Fuses logits (B, H, W, 3) and a detail alpha (B, H, W, 1) into an alpha (B, H, W, 1).

    The most likely class of a pixel decides: its alpha is 0 for background, 1 for foreground, and
    `detail` for transition. In a tie, background wins over both others, and transition over
    foreground. No gradient passes through this decision.
    """
    background, transition, foreground = (semantic[..., i : i + 1] for i in range(3))
    is_foreground = (foreground > background) & (foreground > transition)
    is_transition = (transition > background) & ~is_foreground
    return jnp.where(is_transition, detail, is_foreground.astype(detail.dtype))


class P3MNet(nnx.Module):
    """P3M-Net with any `Encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.semantic_decoder = SemanticDecoder(encoder.shape)
        self.matting_decoder = MattingDecoder(encoder.shape)

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        edit: Edit = unedited,
        remat: bool = False,
    ) -> Outputs:
        """Runs the network.

        Args:
          x: normalised pictures (B, H, W, 3), H and W multiples of 32.
          train: use and update the batch statistics.
          key: draws the stochastic depth in training; None turns it off.
          edit: called at each of the encoder's `edited_layers`.
          remat: the gradient recomputes the encoder's stages, which saves memory but takes time.

        Raises:
          ValueError: a side is not a multiple of 32.
        """
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise ValueError(f"P3M-Net needs sides that are multiples of 32, not {x.shape[1:3]}.")
        features = self.encoder(x, train=train, key=key, edit=edit, remat=remat)
        semantic_maps, semantic, sides = self.semantic_decoder(features, train=train)
        detail = self.matting_decoder(features, semantic_maps, train=train)
        semantic, *side_logits = map(at_least_float32, (semantic, *sides))
        return Outputs(semantic, detail, fuse(semantic, detail), *side_logits)
