"""One training step, as a pure function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit, replicated_entries
from p3m_jax.losses import Targets, share_of_transition, total_loss
from p3m_jax.models.decoders import Edit, unedited
from p3m_jax.models.network import Network, Variables
from p3m_jax.models.p3m_net import BACKGROUND, FOREGROUND, TRANSITION, normalize
from p3m_jax.pictures import trimap as trimaps
from p3m_jax.runtime.compilation import return_memory
from p3m_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]


def targets_of(batch: Batch, dtype=jnp.float32) -> Targets:
    """What a batch of 8-bit maps is held against; see `p3m_jax.input` for the batch."""
    transition = batch["trimap"] == trimaps.TRANSITION
    classes = jnp.where(batch["trimap"] == trimaps.FOREGROUND, FOREGROUND, BACKGROUND)
    classes = jnp.where(transition, TRANSITION, classes)
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
    """How a step computes what it computes; none of it changes what is computed.

    Attributes:
      dtype: the precision of maps and products, "bfloat16" or None: that of the parameters. These,
        their gradients, statistics, norms, softmaxes and losses stay in float32.
      remat: the encoder's stages are computed again for the gradient, not kept.
      parts: the batch goes through in so many parts, one after the other. Losses and gradients are
        those of the whole batch, but a part's BatchNorms see the part alone, and the running
        statistics move once for each part. (P3M-FCP shrinks its sources by a mean over the part.)
    """

    dtype: str | None = None
    remat: bool = False
    parts: int = 1


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    seed: int | None = None,
    paste: FeaturePaste | None = None,
    average_decay: float = 0.999,
    computing: Computing = Computing(),
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The step `(state, batch) -> (state, loss terms)`, to be compiled by the caller.

    With a `seed` stochastic depth is on, drawn from (seed, step). With a `paste` faces are pasted
    among the features, and a batch holds what `p3m_jax.copy_paste.feature` names; without one a
    batch may hold it, and nothing looks at it. `average_decay` is that of the state's moving
    average, where it has one. The loss terms are float32 scalars, as `p3m_jax.losses.total_loss`
    names them.

    Raises:
      ValueError: while it is traced, if the source branch runs on the average and there is none, or
        the batch cannot be cut into `computing.parts`.
    """

    def edit_of(state, parameters, statistics, batch) -> Edit:
        if paste is None:
            return unedited
        if paste.source_from == "average":
            parameters = state.average
            if parameters is None:
                raise ValueError("The state keeps no average of the parameters to paste from.")
        source = Variables(parameters, statistics)
        return pasting_edit(network, source, batch, paste, dtype=computing.dtype)

    def gradients_of(state, statistics, batch, key, share):
        dtype = next(iter(state.parameters.values())).dtype
        targets = targets_of(batch, dtype)._replace(transition_share=share)

        def loss_of(parameters):
            outputs, moved = network.apply(
                Variables(parameters, statistics),
                batch["picture"],
                train=True,
                key=key,
                edit=edit_of(state, parameters, statistics, batch),
                dtype=computing.dtype,
                remat=computing.remat,
            )
            loss, terms = total_loss(outputs, targets)
            return loss, (terms, moved)

        return jax.grad(loss_of, has_aux=True)(state.parameters)

    def over_parts(state, batch, key):
        """As `gradients_of`, with the batch cut into parts whose means are taken."""
        dtype = next(iter(state.parameters.values())).dtype
        share = share_of_transition(targets_of(batch, dtype).transition)
        parts, shared = cut(batch, computing.parts)

        def add(carried, part):
            number, part = part
            part_key = None if key is None else jax.random.fold_in(key, number)
            statistics, sums = carried
            gradients, (terms, moved) = gradients_of(
                state, statistics, {**part, **shared}, part_key, share
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

    def train_step(state, batch):
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


def compile_step(step: Callable, state: TrainState, batch: Batch, out_shardings):
    """The step compiled for arrays like these; the state that it is given is used up.

    Releases the memory that tracing took, up to a quarter of a gigabyte.
    """
    jitted = jax.jit(step, donate_argnums=0, out_shardings=out_shardings)
    compiled = jitted.lower(state, batch).compile()
    jax.clear_caches()
    return_memory()
    return compiled


def cut(batch: Batch, parts: int) -> tuple[Batch, Batch]:
    """A batch cut into parts, (B, ...) -> (parts, B / parts, ...), and what all parts share.

    Part i takes every parts-th example from i on: then a batch that lies on several devices stays
    where it is.

    Raises:
      ValueError: it cannot be cut evenly.
    """
    shared = {name: array for name, array in batch.items() if name in replicated_entries()}
    size = len(batch["picture"])
    if size % parts:
        raise ValueError(f"a batch of {size} has no {parts} equal parts.")

    def split(array):
        return jnp.moveaxis(array.reshape(size // parts, parts, *array.shape[1:]), 1, 0)

    return {name: split(array) for name, array in batch.items() if name not in shared}, shared
