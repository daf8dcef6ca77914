"""ViTAE-S (Xu et al. 2021) with a convolutional, max-pooling stem, as in the IJCV paper."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from p3m_jax.models.decoders import EncoderShape
from p3m_jax.models.layers import DTYPE, BatchNorm, Convolution, LayerNorm, Linear
from p3m_jax.models.ops.activation import gelu, silu
from p3m_jax.models.ops.attention import attention, linear_attention
from p3m_jax.models.pooling_transformer import PoolingTransformer

SHAPE = EncoderShape(
    channels=(64, 64, 128, 256, 512),
    shallow=32,
    pooling_window=2,
    widths_change_last=False,
    logits_before_upsampling=False,
)
DEPTHS = (2, 2, 12, 2)
HEADS = (None, 2, 4, 8)  # None: the first stage uses linear attention
GROUPS = (1, 32, 64, 128)
RANDOM_FEATURES = 32


def orthogonal_rows(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws a matrix (m, d), m <= d, of orthogonal rows.

    The rows have random directions and the length sqrt(m).
    """
    columns, triangle = np.linalg.qr(generator.standard_normal(shape[::-1]))
    columns *= np.sign(np.diag(triangle))  # without it some directions would be more likely
    return (columns.T * shape[0] ** 0.5).astype(DTYPE)


class Attention(nnx.Module):
    """Multi-head attention over all positions of a map."""

    def __init__(self, channels: int, heads: int) -> None:
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels)
        self.projection = Linear(channels, channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Attends over all positions of a map (B, h, w, C); keeps its shape."""
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.heads, channels // self.heads)
        y = attention(*jnp.moveaxis(qkv, (2, 3), (0, 2)))
        return self.projection(jnp.moveaxis(y, 1, 2).reshape(x.shape))


class LinearAttention(nnx.Module):
    """The Performer's attention with one head, for the first stage with its many positions.

    It projects queries and keys onto random directions, which are stored with the weights. The
    published program draws new directions at every start, so its ViTAE-S returns a different matte
    for the same picture after each start.
    """

    def __init__(self, channels: int) -> None:
        self.kqv = Linear(channels, 3 * channels)
        self.projection = Linear(channels, channels)
        self.features = nnx.Variable(
            jnp.zeros((RANDOM_FEATURES, channels)), initializer=orthogonal_rows
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Attends over all positions of a map (B, h, w, C); keeps its shape."""
        batch, height, width, channels = x.shape
        kqv = self.kqv(x).reshape(batch, height * width, 3, channels)
        k, q, v = (kqv[:, :, i] for i in range(3))
        return self.projection(linear_attention(q, k, v, self.features[...]).reshape(x.shape))


class ParallelConvolutions(nnx.Module):
    """ViTAE's "PCM": three grouped 3x3 convolutions, computed in parallel to the attention.

    Their channels are C -> 4 C -> C -> C.
    """

    def __init__(self, channels: int, groups: int) -> None:
        self.convolution0 = Convolution(channels, 4 * channels, 3, groups=groups)
        self.norm0 = BatchNorm(4 * channels)
        self.convolution1 = Convolution(4 * channels, channels, 3, groups=groups)
        self.norm1 = BatchNorm(channels)
        self.convolution2 = Convolution(channels, channels, 3, groups=groups)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = silu(self.norm0(self.convolution0(x), train=train))
        x = silu(self.norm1(self.convolution1(x), train=train))
        return silu(self.convolution2(x))


class NormalCell(nnx.Module):
    """Attention and convolutions in parallel on the same map, then an MLP."""

    def __init__(self, channels: int, heads: int | None, groups: int) -> None:
        self.parallel = ParallelConvolutions(channels, groups)
        self.norm1 = LayerNorm(channels, epsilon=1e-6)
        self.attention = LinearAttention(channels) if heads is None else Attention(channels, heads)
        self.norm2 = LayerNorm(channels, epsilon=1e-6)
        self.expand = Linear(channels, 4 * channels)
        self.contract = Linear(4 * channels, channels)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x + self.attention(self.norm1(x)) + self.parallel(x, train=train)
        hidden = gelu(self.expand(self.norm2(x)))
        return x + self.contract(hidden)


class ViTAES(PoolingTransformer):
    """ViTAE-S for pictures whose sides are multiples of 32 pixels.

    It has no stochastic depth, so the argument `key` of a call has no effect.
    """

    shape = SHAPE

    def __init__(self) -> None:
        stages = [
            nnx.List(NormalCell(width, heads, groups) for _ in range(depth))
            for width, heads, groups, depth in zip(
                SHAPE.channels[1:], HEADS, GROUPS, DEPTHS, strict=True
            )
        ]
        super().__init__(SHAPE, stages, stem_ends_in_relu=False, last_stage_has_norm=False)

    @staticmethod
    def run_stage(
        stage: nnx.List[NormalCell], x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> jax.Array:
        for cell in stage:
            x = cell(x, train=train)
        return x
