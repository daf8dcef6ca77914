"""One training step, as a pure function."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from p3m_jax import trimap as trimaps
from p3m_jax.copy_paste.feature import FeaturePaste, pasting_edit
from p3m_jax.losses import Targets, total_loss
from p3m_jax.models.decoders import Edit, unedited
from p3m_jax.models.network import Network, Variables
from p3m_jax.models.p3m_net import BACKGROUND, FOREGROUND, TRANSITION, normalize
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


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    seed: int | None = None,
    paste: FeaturePaste | None = None,
    average_decay: float = 0.999,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The step `(state, batch) -> (state, loss terms)`, to be compiled by the caller.

    With a `seed` stochastic depth is on, drawn from (seed, step). With a `paste` faces are pasted
    among the features, and a batch holds what `p3m_jax.copy_paste.feature` names; without one a
    batch may hold it, and nothing looks at it. `average_decay` is that of the state's moving
    average, where it has one. The loss terms are float32 scalars, as `p3m_jax.losses.total_loss`
    names them.

    Raises:
      ValueError: while it is traced, if the source branch runs on the average and there is none.
    """

    def edit_of(state, parameters, batch) -> Edit:
        if paste is None:
            return unedited
        if paste.source_from == "average":
            parameters = state.average
            if parameters is None:
                raise ValueError("The state keeps no average of the parameters to paste from.")
        return pasting_edit(network, Variables(parameters, state.statistics), batch, paste)

    def train_step(state, batch):
        targets = targets_of(batch, next(iter(state.parameters.values())).dtype)
        key = None if seed is None else jax.random.fold_in(jax.random.key(seed), state.step)

        def loss_of(parameters):
            outputs, statistics = network.apply(
                Variables(parameters, state.statistics),
                batch["picture"],
                train=True,
                key=key,
                edit=edit_of(state, parameters, batch),
            )
            loss, terms = total_loss(outputs, targets)
            return loss, (terms, statistics)

        gradients, (terms, statistics) = jax.grad(loss_of, has_aux=True)(state.parameters)
        updates, moments = optimizer.update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(parameters, average, 1 - average_decay)
        return TrainState(state.step + 1, parameters, statistics, moments, average), terms

    return train_step
