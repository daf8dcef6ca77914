"""The errors that end a training run early; each message is a sentence for the user."""

from p3m_jax.errors import UserError


class TrainingError(UserError):
    """A run cannot start or continue; the message says why and what to do."""


class RunFolderError(TrainingError):
    """This run cannot use the folder."""


class ConfigurationError(TrainingError):
    """Settings contradict each other or do not fit the machine."""


class TrainingDiverged(TrainingError):
    """A loss, a weight or an output is no longer finite."""
