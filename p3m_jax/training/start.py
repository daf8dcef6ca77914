"""Chooses the weights that a run starts from.

These are the weights of the run's own latest checkpoint; otherwise those of `config.init_from`;
otherwise fresh random weights.
"""

from pathlib import Path
from typing import Any

from p3m_jax.checkpoints.folder import complete_steps, find_checkpoint, read_description
from p3m_jax.checkpoints.weights import load_weights
from p3m_jax.models.network import Network, Variables
from p3m_jax.text import say, shown
from p3m_jax.training.errors import ConfigurationError

# At lower learning rates, such as the recipe's 1e-5, fresh weights change little in a whole run.
_LEAST_FROM_FRESH = 1e-4


def check_start(init_from: str | None, network_name: str, checkpoints: Path) -> None:
    """Checks, without reading weights, that a run can start from the checkpoint `init_from`.

    Nothing is checked if the run already has its own checkpoints, in the folder `checkpoints`.

    Raises:
      ConfigurationError: `init_from` holds another network.
      UserError: `init_from` is not a checkpoint.
    """
    if init_from and not complete_steps(checkpoints):
        there = read_description(find_checkpoint(init_from))["network"]
        if there != network_name:
            raise ConfigurationError(
                f"{init_from}: config.init_from is a checkpoint of {there}, but the configuration "
                f"trains {network_name}; choose a checkpoint of that network, or use the other "
                "configuration."
            )


def past_of(description: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries of a description about the weights that its run started from.

    A resumed run copies them into its own description.
    """
    past = description["provenance"]
    return {name: past[name] for name in ("init_from", "started_from") if name in past}


def first_variables(
    net: Network, init_from: str | None, *, seed: int, learning_rate: float
) -> tuple[Variables, bool, dict[str, Any]]:
    """Returns the first variables of a new run, whether they are synthetic, and their origin.

    Variables are synthetic if they were trained on synthetic portraits. In the origin, a dict,
    "init_from" is the setting `init_from`. If the run starts from a checkpoint, "started_from" is
    the provenance of that checkpoint.
    """
    past = {"init_from": init_from or ""}
    if not init_from:
        if learning_rate < _LEAST_FROM_FRESH:
            say(
                f"NOTE: with a learning rate of {learning_rate:g}, fresh weights hardly learn. The "
                "published results start from a pretrained backbone (--config.init_from=...)."
            )
        return net.initialize(seed), False, past
    source = load_weights(init_from)
    variables = source.variables
    if source.part == "encoder":
        say(f"The encoder comes from {shown(source.path)}; the decoders are drawn from the seed.")
        fresh = net.initialize(seed)
        variables = Variables(*({**new, **old} for new, old in zip(fresh, variables, strict=True)))
    return variables, source.synthetic, {**past, "started_from": source.provenance}
