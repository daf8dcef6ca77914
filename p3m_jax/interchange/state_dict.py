"""Converts state dicts of the authors' program to our variables and back; lists mismatches."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from p3m_jax.interchange.names import StateDictError, our_name, their_name
from p3m_jax.models.network import Network, Variables

RANDOM_FEATURES = ".attention.features"


def our_layout(array: np.ndarray, name: str) -> np.ndarray:
    """Converts an array of the authors' program to our layout.

    Kernels (out, in, kh, kw) become (kh, kw, in, out), and (out, in) become (in, out). For a
    grouped convolution, `in` is the number of inputs of one group. The random projections
    (1, m, d) in ViTAE-S's attention become (m, d).

    Args:
      array: the array in the authors' layout.
      name: our name of the array.
    """
    if name.endswith(RANDOM_FEATURES):
        return array[0] if array.ndim == 3 and len(array) == 1 else array
    if not name.endswith(".kernel"):
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def their_layout(array: np.ndarray, name: str) -> np.ndarray:
    """Converts an array from our layout to that of the authors' program; undoes `our_layout`."""
    if name.endswith(RANDOM_FEATURES):
        return array[None]
    if not name.endswith(".kernel"):
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def state_dict_from_variables(network: Network, variables: Variables) -> dict[str, np.ndarray]:
    """Converts our variables to a state dict with the authors' keys and array layout.

    This is the inverse of `variables_from_state_dict`.
    """
    arrays = {**variables.parameters, **variables.statistics}
    return {
        their_name(network.name, name): their_layout(np.asarray(array), name)
        for name, array in arrays.items()
    }


class Match(NamedTuple):
    """The result of matching a state dict with a network.

    Attributes:
      found: {our name: array in our layout} for the arrays that fit.
      dropped: the keys of the arrays that we do not keep.
      drawn: our names of the fixed random projections in ViTAE-S's attention that the state dict
        lacks. They must be drawn again, and are not in `found`.
      problems: a phrase for every key or name that does not fit.
    """

    found: dict[str, np.ndarray]
    dropped: list[str]
    drawn: list[str]
    problems: list[str]


def wanted_shapes(network: Network, part: str = "network") -> dict[str, tuple[int, ...]]:
    """Returns {our name: shape} of the parameters and statistics of a network.

    `part` is "network" for the whole network, or "encoder".
    """
    shapes = {**network.shapes.parameters, **network.shapes.statistics}
    return {
        name: shape.shape
        for name, shape in shapes.items()
        if part == "network" or name.startswith("encoder.")
    }


def match_state_dict(
    network: Network,
    arrays: Mapping[str, np.ndarray],
    part: str = "network",
    full_keys: Mapping[str, str] | None = None,
) -> Match:
    """Finds our name for each array of the authors' program, and checks its shape.

    Args:
      network: the network that the arrays should belong to.
      arrays: {key: array in the authors' layout}.
      part: "network" if the arrays should form the whole network, "encoder" if only its encoder.
      full_keys: {key in `arrays`: the authors' key for this array in a whole network}. None if the
        keys in `arrays` already are those of a whole network.
    """
    wanted, misshapen = wanted_shapes(network, part), set()
    match = Match({}, [], [], [])
    for key, array in arrays.items():
        try:
            name = our_name(network.name, full_keys[key] if full_keys else key)
        except StateDictError:
            match.problems.append(f"{key}: is not an array of {network.name}")
            continue
        if name is None:
            match.dropped.append(key)
            continue
        array = our_layout(np.asarray(array), name)
        if name not in wanted:
            match.problems.append(f"{key}: would be {name}, which {network.name} does not have")
        elif name in match.found:
            match.problems.append(f"{key}: {name} is already taken by another key")
        elif array.shape != wanted[name]:
            match.problems.append(f"{key}: shape {array.shape} for {name}, not {wanted[name]}")
            misshapen.add(name)
        else:
            match.found[name] = array
    for name in sorted(wanted.keys() - match.found.keys() - misshapen):
        if name.endswith(RANDOM_FEATURES):
            match.drawn.append(name)
        else:
            match.problems.append(f"{name}: missing")
    return match


def complete(network: Network, match: Match) -> Variables:
    """Returns the network's variables from a match that has no problems.

    The authors' files lack the random projections in ViTAE-S's attention. These are drawn with
    seed 0.
    """
    fresh = network.initialize(0).statistics if match.drawn else {}
    arrays = match.found | {name: fresh[name] for name in match.drawn}
    return Variables(
        # JAX accepts NumPy arrays wherever it takes its own.
        *({name: arrays[name] for name in part if name in arrays} for part in network.shapes)  # type: ignore[arg-type]
    )


def variables_from_state_dict(network: Network, arrays: Mapping[str, np.ndarray]) -> Variables:
    """Converts {key: array} of the authors' program to our variables.

    The authors' files lack the random projections in ViTAE-S's attention. These are taken from
    `network.initialize(0)`.

    Raises:
      StateDictError: the arrays do not fit; the message lists the keys that are unknown, missing,
        or of another shape.
    """
    match = match_state_dict(network, arrays)
    if match.problems:
        raise StateDictError(
            f"This is not a state dict of {network.name}; there are {len(match.problems)} "
            "mismatches:",
            *list_problems(match.problems),
        )
    return complete(network, match)


def list_problems(problems: list[str]) -> list[str]:
    """Returns the problems as lines for a message.

    Problems that differ only in numbers share one line: it shows the first and counts the others.
    """
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(re.sub(r"\d+", "0", problem), []).append(problem)
    return [
        f"  {first}" + (f" (and {len(others)} more that differ in numbers)" if others else "")
        for first, *others in kinds.values()
    ]
