"""Chooses the weights that a new run starts from.

These are the weights in the checkpoint `config.init_from`, or random weights if the setting is
empty. A run that already has checkpoints of its own resumes from them instead.
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
    """Checks that a new run can start from the checkpoint `init_from`; reads no weights.

    Does nothing if `init_from` is empty, or if the run resumes because the folder `checkpoints`
    already contains checkpoints.

    Raises:
      ConfigurationError: `init_from` is a checkpoint of another network.
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
    """Returns the origin of a run's first weights, as recorded in its checkpoint's description.

    The origin is a dict like that of `first_variables`; keys that are not recorded are missing. A
    resumed run copies it into the descriptions of its later checkpoints.
    """
    past = description["provenance"]
    return {name: past[name] for name in ("init_from", "started_from") if name in past}


def first_variables(
    net: Network, init_from: str | None, *, seed: int, learning_rate: float
) -> tuple[Variables, bool, dict[str, Any]]:
    """Loads or draws the weights and statistics with which a new run starts.

    They are loaded from the checkpoint `init_from`, or drawn at random if it is None. If the
    checkpoint has only an encoder, the decoders are drawn.

    Args:
      net: the network.
      init_from: the checkpoint, or None.
      seed: the seed for drawing weights.
      learning_rate: if it is too low for random weights, a note is printed.

    Returns:
      The weights and statistics; whether they were trained on synthetic portraits; and their
      origin. The origin is a dict with the setting "init_from" and, if the run starts from a
      checkpoint, that checkpoint's provenance as "started_from".
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
