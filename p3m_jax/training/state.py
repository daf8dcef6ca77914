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
      step: the number of steps taken, int32.
      parameters, statistics: the network's arrays, see `p3m_jax.models.network.Variables`.
      optimizer: the optimiser's state in Optax: Adam's moments and count.
      average: the exponential moving average of the parameters; None if the run does not keep one.
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
    """Returns Adam with PyTorch's defaults and no learning rate schedule, as published.

    Args:
      learning_rate: the learning rate for the published batch size of 8.
      rule: the factor by which `learning_rate` is multiplied: 1 for "constant",
        sqrt(batch_size / 8) for "sqrt", or batch_size / 8 for "linear". "sqrt" suits Adam, because
        Adam divides each gradient by its typical size. The typical size of a gradient is mostly
        noise, which is proportional to 1 / sqrt(batch_size).
      batch_size: pictures per step, on all devices together.
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
    """Returns the state before the first step, with the network's arrays from `variables`.

    If `average` is True, the state also holds a moving average of the parameters. All arrays are
    copied, so that a step may donate them without destroying `variables`.
    """
    variables = jax.tree.map(jnp.array, variables)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=dict(variables.parameters),
        statistics=dict(variables.statistics),
        optimizer=optimizer.init(dict(variables.parameters)),
        average=jax.tree.map(jnp.copy, dict(variables.parameters)) if average else None,
    )
