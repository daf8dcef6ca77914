"""Swin-T (Liu et al. 2021) with a convolutional, max-pooling stem, as in the IJCV paper."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from p3m_jax.models.decoders import EncoderShape
from p3m_jax.models.layers import LayerNorm, Linear, normal_002, parameter
from p3m_jax.models.ops.activation import gelu
from p3m_jax.models.ops.precision import at_least_float32
from p3m_jax.models.pooling_transformer import PoolingTransformer

SHAPE = EncoderShape(
    channels=(96, 96, 192, 384, 768),
    shallow=48,
    pooling_window=2,
    widths_change_last=False,
    logits_before_upsampling=False,
)
DEPTHS = (2, 2, 6, 2)
HEADS = (3, 6, 12, 24)
WINDOW = 7
SHIFT = 3
STOCHASTIC_DEPTH = 0.2


def _relative_position_index() -> np.ndarray:
    """Returns indices (49, 49) into the bias table, for each (query, key) pair of a window."""
    y, x = np.divmod(np.arange(WINDOW * WINDOW), WINDOW)
    rows = y[:, None] - y[None, :] + WINDOW - 1
    columns = x[:, None] - x[None, :] + WINDOW - 1
    return rows * (2 * WINDOW - 1) + columns


def _regions(size: int, shift: int) -> np.ndarray:
    """Returns the region of each row (or column) of the padded and rolled map, by window: (n, 7).

    Two rows attend to each other only if both or neither are padding, and if both or neither were
    moved across the edge by the roll. (On maps of 3 rows or more the published regions are the
    same. On smaller maps the published ones mix padded and real rows; these do not.)
    """
    padded = -(-size // WINDOW) * WINDOW
    origin = np.roll(np.arange(padded), -shift)
    wrapped = np.arange(padded) >= padded - shift
    return ((origin >= size) + 2 * wrapped).reshape(-1, WINDOW)


def _attention_mask(height: int, width: int, shift: int) -> jax.Array:
    """Returns (windows, 1, 49, 49): -100 between tokens of different regions, otherwise 0."""
    rows, columns = _regions(height, shift), _regions(width, shift)
    regions = rows[:, None, :, None] * 4 + columns[None, :, None, :]
    regions = jnp.asarray(regions.reshape(-1, WINDOW * WINDOW), jnp.int32)
    # Compared at run time: as a constant, a large picture's mask would need megabytes.
    regions = jax.lax.optimization_barrier(regions)
    return jnp.where(regions[:, None, :, None] != regions[:, None, None, :], -100.0, 0.0)


class WindowAttention(nnx.Module):
    """Multi-head attention inside windows of 7 x 7, with a learned relative position bias."""

    def __init__(self, channels: int, heads: int) -> None:
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels)
        self.position_bias = parameter(((2 * WINDOW - 1) ** 2, heads), normal_002)
        self.projection = Linear(channels, channels)

    def __call__(self, x: jax.Array, shift: int) -> jax.Array:
        """Attends inside the windows of a map (B, h, w, C) of any size; keeps its shape.

        The map is padded to full windows and rolled by `shift`.
        """
        batch, height, width, channels = x.shape
        rows, columns = -(-height // WINDOW), -(-width // WINDOW)
        bottom, right = rows * WINDOW - height, columns * WINDOW - width
        # Zeros are added before the linear layer, so padded keys and values equal its biases.
        x = jnp.pad(x, [(0, 0), (0, bottom), (0, right), (0, 0)])
        x = jnp.roll(x, (-shift, -shift), axis=(1, 2))
        x = x.reshape(batch, rows, WINDOW, columns, WINDOW, channels).swapaxes(2, 3)
        x = x.reshape(batch, rows * columns, WINDOW * WINDOW, channels)

        x = self._attend(x, _attention_mask(height, width, shift))

        x = x.reshape(batch, rows, columns, WINDOW, WINDOW, channels).swapaxes(2, 3)
        x = x.reshape(batch, rows * WINDOW, columns * WINDOW, channels)
        return jnp.roll(x, (shift, shift), axis=(1, 2))[:, :height, :width]

    def _attend(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Attends in (B, windows, 49, C) with a mask (windows, 1, 49, 49)."""
        *leading, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(*leading, tokens, 3, self.heads, channels // self.heads)
        q, k, v = (qkv[..., i, :, :] for i in range(3))
        # A one-hot product instead of a gather: it is exact, and its gradient is not a scatter.
        table = self.position_bias[...]
        index = jax.nn.one_hot(_relative_position_index(), table.shape[0], dtype=table.dtype)
        bias = jnp.einsum("qkp,ph->hqk", index, table, precision=jax.lax.Precision.HIGHEST)
        scores = jnp.einsum("bwqhd,bwkhd->bwhqk", q * (channels // self.heads) ** -0.5, k)
        weights = jax.nn.softmax(at_least_float32(scores) + bias + mask, axis=-1)
        y = jnp.einsum("bwhqk,bwkhd->bwqhd", weights.astype(x.dtype), v)
        return self.projection(y.reshape(x.shape))


class SwinBlock(nnx.Module):
    """Adds attention(norm(x)) to x, then MLP(norm(x)); in training, a branch may be skipped."""

    def __init__(
        self,
        channels: int,
        heads: int,
        shift: int,
        drop_probability: float,
    ) -> None:
        self.shift = shift
        self.drop_probability = drop_probability
        self.norm1 = LayerNorm(channels)
        self.attention = WindowAttention(channels, heads)
        self.norm2 = LayerNorm(channels)
        self.expand = Linear(channels, 4 * channels)
        self.contract = Linear(4 * channels, channels)

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Runs the block; `key` draws the examples that skip a branch (stochastic depth)."""
        keys = (None, None) if key is None else jax.random.split(key)
        x = x + self._maybe_drop(self.attention(self.norm1(x), self.shift), keys[0])
        hidden = gelu(self.expand(self.norm2(x)))
        return x + self._maybe_drop(self.contract(hidden), keys[1])

    def _maybe_drop(self, branch: jax.Array, key: jax.Array | None) -> jax.Array:
        if key is None or self.drop_probability == 0:
            return branch
        keep = 1 - self.drop_probability
        kept = jax.random.bernoulli(key, keep, (branch.shape[0], 1, 1, 1))
        return jnp.where(kept, branch / keep, 0)


class SwinStage(nnx.Module):
    """A sequence of Swin blocks; every second one has shifted windows."""

    def __init__(
        self,
        channels: int,
        heads: int,
        drop_probabilities: list[float],
    ) -> None:
        self.blocks = nnx.List(
            SwinBlock(channels, heads, SHIFT * (i % 2), probability)
            for i, probability in enumerate(drop_probabilities)
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        keys: jax.Array | list[None] = [None] * len(self.blocks)
        if key is not None:
            keys = jax.random.split(key, len(self.blocks))
        for block, block_key in zip(self.blocks, keys, strict=True):
            x = block(x, key=block_key)
        return x


class SwinT(PoolingTransformer):
    """Swin-T for pictures whose sides are multiples of 32 pixels, down to 32 x 32."""

    shape = SHAPE

    def __init__(self) -> None:
        rates = np.split(np.linspace(0, STOCHASTIC_DEPTH, sum(DEPTHS)), np.cumsum(DEPTHS)[:-1])
        stages = [
            SwinStage(width, heads, [float(rate) for rate in stage_rates])
            for width, heads, stage_rates in zip(SHAPE.channels[1:], HEADS, rates, strict=True)
        ]
        super().__init__(SHAPE, stages, stem_ends_in_relu=True, last_stage_has_norm=True)

    @staticmethod
    def run_stage(
        stage: SwinStage, x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> jax.Array:
        return stage(x, key=key)
