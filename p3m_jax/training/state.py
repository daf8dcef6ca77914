"""The training state that is carried from step to step, and the optimiser that updates it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from p3m_jax.models.network import Arrays, Network, Variables

RECIPE_BATCH = 8
# {name: function from (batch size / RECIPE_BATCH) to the factor of the learning rate}
RULES = {"constant": lambda times: 1.0, "sqrt": math.sqrt, "linear": lambda times: times}


class TrainState(NamedTuple):
    """Everything that a run needs to continue, as one tree of arrays.

    Attributes:
      step: int32, how many steps have been taken.
      parameters, statistics: those of the network, see `p3m_jax.models.network.Variables`.
      optimizer: the state of Optax: Adam's moments and count.
      average: the exponential moving average of the parameters; None if the run keeps none.
    """

    step: jax.Array
    parameters: Arrays
    statistics: Arrays
    optimizer: Any
    average: Arrays | None = None

    @property
    def variables(self) -> Variables:
        """The parameters and statistics, in the form that the network accepts."""
        return Variables(self.parameters, self.statistics)


def make_optimizer(
    learning_rate: float, *, rule: str = "constant", batch_size: int = RECIPE_BATCH
) -> optax.GradientTransformation:
    """Returns Adam with PyTorch's defaults and a constant learning rate, as published.

    The learning rate is meant for the recipe's batch of 8. `rule` says how it changes for another
    batch size. "constant" keeps it. "sqrt" multiplies it by the square root of batch / 8: Adam
    divides a gradient by its usual size. That size is mostly noise, which shrinks with the square
    root of the batch size. "linear" multiplies it by batch / 8.
    """
    factor = RULES[rule](batch_size / RECIPE_BATCH)
    return optax.adam(learning_rate * factor, b1=0.9, b2=0.999, eps=1e-8)


def initial_state(
    network: Network,
    optimizer: optax.GradientTransformation,
    variables: Variables,
    *,
    average: bool = False,
) -> TrainState:
    """Returns the state before the first step.

    With `average`, the state includes a moving average of the parameters.

    The arrays are copied, because the step may donate them.
    """
    variables = jax.tree.map(jnp.array, variables)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=dict(variables.parameters),
        statistics=dict(variables.statistics),
        optimizer=optimizer.init(dict(variables.parameters)),
        average=jax.tree.map(jnp.copy, dict(variables.parameters)) if average else None,
    )
