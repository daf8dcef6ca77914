"""The ways in which a run ends early, each with a sentence for the user."""

from p3m_jax.errors import UserError


class TrainingError(UserError):
    """A run cannot start or go on; the message says why and what to do."""


class RunFolderError(TrainingError):
    """A folder in which this run cannot be."""


class ConfigurationError(TrainingError):
    """Settings that do not fit each other or the machine."""


class TrainingDiverged(TrainingError):
    """The loss is no longer a number."""
