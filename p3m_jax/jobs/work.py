"""Defines the interface `Work` (what a run does to each picture), and the outcome of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from p3m_jax.errors import UserError
from p3m_jax.jobs.plan import Job


class NeedsReview(UserError):
    """A picture that the user has to review before it can be processed.

    Attributes:
      reasons: why it needs review.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass
class JobOutcome:
    """The result of a run, or of one of its pictures.

    Attributes:
      done: number of pictures done in this run.
      skipped: number of pictures that were already done.
      tried: number of pictures that were not done yet and whose files could be read. Each of them
        is also counted as done, waiting or failed.
      waiting: (file, reasons) of each picture that needs review.
      failed: (file, reason) of each picture that could not be processed.
      warnings: (file, warning) for each warning.
      stopped: why the run ended before all pictures were tried, or None.
      interrupted: whether the run was ended by Ctrl-C or a signal.
    """

    done: int = 0
    skipped: int = 0
    tried: int = 0
    waiting: list[tuple[Path, tuple[str, ...]]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[tuple[Path, str]] = field(default_factory=list)
    stopped: str | None = None
    interrupted: bool = False

    def add(self, picture: "JobOutcome") -> None:
        """Adds the outcome of a picture."""
        self.done += picture.done
        self.skipped += picture.skipped
        self.tried += picture.tried
        self.waiting += picture.waiting
        self.failed += picture.failed
        self.warnings += picture.warnings


class Work(Protocol):
    """The work that is done for each picture.

    If a method raises `UserError` or `OSError`, the picture fails and the run continues.

    Attributes:
      done: what was done to a picture, as a participle ("matted").
      at_once: how many pictures `compute` may process at a time.
      needed_once: kinds of input files, as keys of the dict that `given` returns. The user may
        delete such files after the outputs are made: a finished picture is still skipped.
    """

    done: str
    at_once: int
    needed_once: tuple[str, ...]

    def given(self, job: Job) -> dict[str, Path]:
        """Returns the user's other files for a picture, such as {"matte": path of its matte}.

        The outputs are made from the picture and these files. If one of these files changes, the
        run treats the picture as changed.
        """

    def memory(self, job: Job, pixels: int) -> int:
        """Returns the memory in bytes that a picture needs while it is processed."""

    def load(self, job: Job, given: dict[str, Path]) -> Any:
        """Reads the picture and the user's other files for it; `compute` receives the result.

        Runs in several threads at the same time.

        Args:
          job: the job of the picture.
          given: the files that the method `given` returned.

        Raises:
          NeedsReview: the user has to review the picture first.
        """

    def compute(self, loaded: Any) -> Any:
        """Does the slow part of the work for one picture; `write` receives the result.

        `loaded` is the result of `load`. Runs in up to `at_once` threads at the same time.
        """

    def write(
        self, job: Job, computed: Any, files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs of a picture.

        Runs in several threads at the same time.

        Args:
          job: the job of the picture.
          computed: the result of `compute`.
          files: {kind of output: the file to write}.

        Returns:
          Two values: warnings for the user, and a dict that is added to the picture's entry in the
          manifest (the list of processed pictures).
        """
