"""What a run over a collection is told to do with each picture, and the result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from p3m_jax.errors import UserError
from p3m_jax.jobs.plan import Job


class NeedsReview(UserError):
    """A picture that the user has to review before it can be done.

    Attributes:
      reasons: why.
    """

    def __init__(self, reasons: Sequence[str]):
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass
class Outcome:
    """The result of a run, or of one of its pictures.

    Attributes:
      done: pictures done now.
      skipped: pictures that were done already.
      tried: pictures whose files could be read: done, waiting, or failed later.
      waiting: (file, reasons) of those that need review.
      failed: (file, reason) of those that could not be done.
      warnings: (file, sentence).
      stopped: why the run ended before all pictures were tried, or None.
      interrupted: it ended by Ctrl-C or a signal.
    """

    done: int = 0
    skipped: int = 0
    tried: int = 0
    waiting: list[tuple[Path, tuple[str, ...]]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[tuple[Path, str]] = field(default_factory=list)
    stopped: str | None = None
    interrupted: bool = False

    def add(self, picture: "Outcome") -> None:
        """Counts the result of a picture."""
        self.done += picture.done
        self.skipped += picture.skipped
        self.tried += picture.tried
        self.waiting += picture.waiting
        self.failed += picture.failed
        self.warnings += picture.warnings


class Work(Protocol):
    """What is done to each picture. `UserError` and `OSError` fail the picture, not the run.

    Attributes:
      done: what was done to a picture, as a participle ("matted").
      at_once: how many pictures `compute` may work on at a time.
      needed_once: names of given files that outputs, once made with them, stay valid without.
    """

    done: str
    at_once: int
    needed_once: tuple[str, ...]

    def given(self, job: Job) -> dict[str, Path]:
        """Further files that the outputs depend on, by name."""

    def memory(self, job: Job, pixels: int) -> int:
        """Bytes that a picture takes on its way."""

    def load(self, job: Job, given: dict[str, Path]) -> Any:
        """Reads what is needed, in a thread; `NeedsReview` where the user has to decide."""

    def compute(self, loaded: Any) -> Any:
        """What takes the longest, in as many threads as pictures may be at it."""

    def write(
        self, job: Job, computed: Any, files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs by kind, in a thread; gives warnings, and notes for the manifest."""
