"""What every error that a user can mend has in common."""


class UserError(ValueError):
    """Something outside the program is wrong; the message is a sentence with place and remedy.

    Further arguments are lines below the sentence, such as a list of files. Commands print it and
    exit with 1. Anything else that is raised is a bug and keeps its traceback.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class OptionError(UserError):
    """The value of an option means nothing; commands exit with 2."""
