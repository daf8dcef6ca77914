"""What training carries from step to step, and the optimiser that moves it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from p3m_jax.models.network import Arrays, Network, Variables


class TrainState(NamedTuple):
    """All that a run needs to go on, as one tree of arrays.

    Attributes:
      step: int32, how many steps have been taken.
      parameters, statistics: the network's, see `p3m_jax.models.network.Variables`.
      optimizer: Optax's state, Adam's moments and count.
      average: the parameters' exponential moving average, where the run keeps one.
    """

    step: jax.Array
    parameters: Arrays
    statistics: Arrays
    optimizer: Any
    average: Arrays | None = None

    @property
    def variables(self) -> Variables:
        """Parameters and statistics, as the network takes them."""
        return Variables(self.parameters, self.statistics)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam with PyTorch's defaults and a constant learning rate, as published."""
    return optax.adam(config.learning_rate, b1=0.9, b2=0.999, eps=1e-8)


def initial_state(
    network: Network,
    optimizer: optax.GradientTransformation,
    variables: Variables,
    *,
    average: bool = False,
) -> TrainState:
    """The state before the first step, with an `average` of the parameters where asked.

    The arrays are copied: the step may donate them.
    """
    variables = jax.tree.map(jnp.array, variables)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=dict(variables.parameters),
        statistics=dict(variables.statistics),
        optimizer=optimizer.init(dict(variables.parameters)),
        average=jax.tree.map(jnp.copy, dict(variables.parameters)) if average else None,
    )
