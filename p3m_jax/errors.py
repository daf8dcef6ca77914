"""The base classes of all errors that a user can fix."""


class UserError(ValueError):
    """A problem outside the program; the message is one sentence with the file and the remedy.

    Further arguments are printed as lines below the sentence, such as a list of files. Commands
    print the error and exit with 1. Any other exception is a bug and keeps its traceback.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class OptionError(UserError):
    """The value of an option is invalid; commands exit with 2."""
