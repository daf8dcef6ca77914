"""What training carries from step to step, and the optimiser that moves it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from p3m_jax.models.network import Arrays, Network, Variables

RECIPE_BATCH = 8
# By how much the learning rate grows with the batch.
RULES = {"constant": lambda times: 1.0, "sqrt": math.sqrt, "linear": lambda times: times}


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
    """Adam with PyTorch's defaults and a constant learning rate, as published.

    The rate is that of the recipe's batch of 8; for another size `config.learning_rate_rule` says
    what becomes of it. "constant" leaves it. "sqrt" takes it times the root of batch / 8: Adam
    divides a gradient by its size, which is mostly noise, and the noise shrinks with that root.
    "linear" takes it times batch / 8.
    """
    factor = RULES[config.learning_rate_rule](config.batch_size / RECIPE_BATCH)
    return optax.adam(config.learning_rate * factor, b1=0.9, b2=0.999, eps=1e-8)


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
