"""Where a run's first weights come from.

The run's own latest checkpoint, then `config.init_from`, then fresh ones.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from p3m_jax.checkpoints.folder import complete_steps, find_checkpoint, read_description
from p3m_jax.checkpoints.weights import load_weights
from p3m_jax.configs import common
from p3m_jax.models.network import Network, Variables
from p3m_jax.text import say, shown
from p3m_jax.training.errors import ConfigurationError

# Below, fresh weights move little in the steps of the recipe, whose rate is 1e-5.
_LEAST_FROM_FRESH = 1e-4


def check_start(config: ConfigDict, checkpoints: Path) -> None:
    """Checks that `config.init_from` can be used, if it will be, without reading its weights.

    Raises:
      ConfigurationError: it holds another network.
      UserError: it is no checkpoint.
    """
    if config.init_from and not complete_steps(checkpoints):
        there = read_description(find_checkpoint(config.init_from))["network"]
        if there != config.network:
            raise ConfigurationError(
                f"{config.init_from}: config.init_from holds {there}, and the configuration trains "
                f"{config.network}; name a checkpoint of that, or take the other configuration."
            )


def past_of(description: dict[str, Any]) -> dict[str, Any]:
    """What a run that resumes from a checkpoint of this description has started from."""
    past = description["provenance"]
    return {name: past[name] for name in ("init_from", "started_from") if name in past}


def first_variables(config: ConfigDict, net: Network) -> tuple[Variables, bool, dict[str, Any]]:
    """The variables of a first start, whether synthetic portraits are behind them, and their past.

    The past is {"init_from", "started_from": its provenance}.
    """
    past = {"init_from": config.init_from}
    if not config.init_from:
        if not common.part_of(config, common.BASES) and config.learning_rate < _LEAST_FROM_FRESH:
            say(
                f"NOTE: from fresh weights a learning rate of {config.learning_rate:g} hardly "
                "moves; the published numbers start from a pretrained backbone "
                "(--config.init_from=...)."
            )
        return net.initialize(config.seed), False, past
    source = load_weights(config.init_from)
    variables = source.variables
    if source.part == "encoder":
        say(f"The encoder comes from {shown(source.path)}; the decoders are drawn from the seed.")
        fresh = net.initialize(config.seed)
        variables = Variables(*({**new, **old} for new, old in zip(fresh, variables, strict=True)))
    return variables, source.synthetic, {**past, "started_from": source.provenance}
