"""Makes and compiles the training step, a pure function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.stages import Compiled
from jax.typing import DTypeLike

from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit, replicated_entries
from p3m_jax.losses import Loss, Targets, share_of_transition, total_loss
from p3m_jax.models.decoders import Edit, unedited
from p3m_jax.models.network import Arrays, Network, Variables
from p3m_jax.models.p3m_net import BACKGROUND_CLASS, FOREGROUND_CLASS, TRANSITION_CLASS, normalize
from p3m_jax.pictures import trimap as trimaps
from p3m_jax.runtime.compilation import return_memory
from p3m_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]

# The gradients of the parameters; the terms of the loss, and the statistics after the step.
_Gradients = tuple[Arrays, tuple[dict[str, jax.Array], Arrays]]


def targets_of(batch: Batch, dtype: DTypeLike = jnp.float32) -> Targets:
    """Converts the 8-bit arrays of a batch (see `p3m_jax.input`) to targets for the loss."""
    transition = batch["trimap"] == trimaps.TRANSITION
    classes = jnp.where(batch["trimap"] == trimaps.FOREGROUND, FOREGROUND_CLASS, BACKGROUND_CLASS)
    classes = jnp.where(transition, TRANSITION_CLASS, classes)
    colours = {
        name: normalize(batch[name], dtype)
        for name in ("picture", "foreground", "background")
        if name in batch
    }
    return Targets(
        alpha=batch["matte"].astype(dtype) / 255,
        classes=classes[..., 0],
        transition=transition.astype(dtype),
        **colours,
    )


@dataclass(frozen=True)
class Computing:
    """Settings of a training step that trade precision or time for memory.

    `remat` changes results only by rounding; `dtype` and `parts` change them as described below.

    Attributes:
      dtype: "bfloat16" to compute activations and matrix products in bfloat16; None to use the
        dtype of the parameters. Parameters, gradients, statistics, norms, softmaxes and losses stay
        in float32.
      remat: whether to recompute the activations of the encoder's stages in the backward pass
        instead of storing them.
      parts: the number of equal parts into which to split each batch. The parts are computed one
        after another. Their losses and gradients are combined into the loss and gradient of the
        whole batch. However, BatchNorm normalises each part separately, and updates the running
        statistics once per part. In P3M-FCP, the factor by which the faces to copy are shrunk is
        also computed for each part separately.
    """

    dtype: str | None = None
    remat: bool = False
    parts: int = 1


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    seed: int | None = None,
    loss: Loss = total_loss,
    paste: FeaturePaste | None = None,
    average_decay: float = 0.999,
    computing: Computing = Computing(),
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Returns the training step, a function `(state, batch) -> (new state, loss terms)`.

    The caller compiles it, for instance with `compile_step`. The loss terms are float32 scalars by
    name, as `loss` returns them.

    Args:
      network: the network to train.
      optimizer: the optimiser.
      seed: the seed for stochastic depth, which also depends on the step. None turns it off.
      loss: the loss, by default the published sum.
      paste: how to paste faces into features (P3M-FCP); None for no pasting. If it is set, a batch
        needs the additional entries listed in `p3m_jax.copy_paste.feature`.
      average_decay: the decay of the state's moving average, if the state has one.
      computing: precision and memory.

    Raises:
      ValueError: (when the step is traced) the batch cannot be split into `computing.parts` equal
        parts, or `paste` needs a moving average of the parameters, but the state has none.
    """

    def edit_of(state: TrainState, parameters: Arrays, statistics: Arrays, batch: Batch) -> Edit:
        if paste is None:
            return unedited
        if paste.source_from == "average":
            if state.average is None:
                raise ValueError("The state keeps no average of the parameters to paste from.")
            parameters = state.average
        source = Variables(parameters, statistics)
        return pasting_edit(network, source, batch, paste, dtype=computing.dtype)

    def gradients_of(
        state: TrainState,
        statistics: Arrays,
        batch: Batch,
        key: jax.Array | None,
        share: jax.Array | None,
    ) -> _Gradients:
        dtype = next(iter(state.parameters.values())).dtype
        targets = targets_of(batch, dtype)._replace(transition_share=share)

        def loss_of(parameters: Arrays) -> tuple[jax.Array, tuple[dict[str, jax.Array], Arrays]]:
            outputs, moved = network.apply(
                Variables(parameters, statistics),
                batch["picture"],
                train=True,
                key=key,
                edit=edit_of(state, parameters, statistics, batch),
                dtype=computing.dtype,
                remat=computing.remat,
            )
            total, terms = loss(outputs, targets)
            return total, (terms, moved)

        return jax.grad(loss_of, has_aux=True)(state.parameters)

    def over_parts(state: TrainState, batch: Batch, key: jax.Array | None) -> _Gradients:
        """Like `gradients_of`, but splits the batch into parts and averages their gradients."""
        dtype = next(iter(state.parameters.values())).dtype
        share = share_of_transition(targets_of(batch, dtype).transition)
        parts, shared = cut(batch, computing.parts)

        def add(
            carried: tuple[Arrays, Any], part: tuple[jax.Array, Batch]
        ) -> tuple[tuple[Arrays, Any], None]:
            number, inside = part
            part_key = None if key is None else jax.random.fold_in(key, number)
            statistics, sums = carried
            gradients, (terms, moved) = gradients_of(
                state, statistics, {**inside, **shared}, part_key, share
            )
            return (moved, jax.tree.map(jnp.add, sums, (gradients, terms))), None

        first = jax.tree.map(lambda part: part[0], parts)
        shapes = jax.eval_shape(
            gradients_of, state, state.statistics, {**first, **shared}, key, share
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], shapes[1][0]))
        numbered = jnp.arange(computing.parts), parts
        (statistics, sums), _ = jax.lax.scan(add, (state.statistics, zeros), numbered)
        gradients, terms = jax.tree.map(lambda x: x / computing.parts, sums)
        return gradients, (terms, statistics)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        key = None if seed is None else jax.random.fold_in(jax.random.key(seed), state.step)
        if computing.parts == 1:
            gradients, (terms, statistics) = gradients_of(
                state, state.statistics, batch, key, share=None
            )
        else:
            gradients, (terms, statistics) = over_parts(state, batch, key)
        with jax.named_scope("optimizer"):
            updates, moments = optimizer.update(gradients, state.optimizer, state.parameters)
            parameters = optax.apply_updates(state.parameters, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(parameters, average, 1 - average_decay)
        return TrainState(state.step + 1, parameters, statistics, moments, average), terms

    return train_step


def compile_step(step: Callable, state: TrainState, batch: Batch, out_shardings: Any) -> Compiled:
    """Compiles a training step for the shapes and dtypes of `state` and `batch`.

    The compiled step reuses the memory of the state passed to it ("donation"), so the caller cannot
    use that state again. After compiling, the memory used for tracing (up to a quarter of a
    gigabyte) is released.
    """
    jitted = jax.jit(step, donate_argnums=0, out_shardings=out_shardings)
    compiled = jitted.lower(state, batch).compile()
    jax.clear_caches()
    return_memory()
    return compiled


def cut(batch: Batch, parts: int) -> tuple[Batch, Batch]:
    """Splits a batch of B examples into equal parts.

    Part i holds the examples i, i + parts, i + 2 parts and so on. This order keeps every example
    on its device.

    Returns:
      The entries with one value per example, reshaped from (B, ...) to (parts, B / parts, ...); and
      the other entries, which all parts share, unchanged.

    Raises:
      ValueError: B is not divisible by `parts`.
    """
    shared = {name: array for name, array in batch.items() if name in replicated_entries()}
    size = len(batch["picture"])
    if size % parts:
        raise ValueError(f"A batch of {size} cannot be split into {parts} equal parts.")

    def split(array: jax.Array) -> jax.Array:
        return jnp.moveaxis(array.reshape(size // parts, parts, *array.shape[1:]), 1, 0)

    return {name: split(array) for name, array in batch.items() if name not in shared}, shared
