"""The errors that end a training run early; each message is a sentence for the user."""

from collections.abc import Iterable

from p3m_jax.errors import UserError


class TrainingError(UserError):
    """A run cannot start or continue; the message says why and what to do."""


class RunFolderError(TrainingError):
    """A run cannot use its folder, for instance because the folder contains another run."""


class ConfigurationError(TrainingError):
    """Settings contradict each other or do not fit the machine."""


class TrainingDiverged(TrainingError):
    """A loss, a weight or an output is no longer finite."""


def one_of(name: str, value: str, known: Iterable[str]) -> list[str]:
    """Returns a list with a message if the setting `name` has an unknown value, otherwise [].

    The message names `value` and the `known` values.
    """
    known = tuple(known)
    if value in known:
        return []
    return [f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}"]
