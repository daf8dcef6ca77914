"""A share of a collection: what one of several processes, on one host or many, does of it."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Share(NamedTuple):
    """The `index`-th of `count` shares, counted from 0."""

    index: int
    count: int

    def of(self, values: Sequence[T]) -> Sequence[T]:
        """Every `count`-th of the values: all shares together have each of them once."""
        return values[self.index :: self.count]

    @classmethod
    def parse(cls, text: str) -> "Share":
        """From "I/N"; ValueError for anything else."""
        numbers = re.fullmatch(r"(\d+)/(\d+)", text)
        if numbers is None or int(numbers[1]) >= int(numbers[2]):
            raise ValueError(f"{text!r} is no share; name it as I/N, 0/4 to 3/4 for those of four")
        return cls(int(numbers[1]), int(numbers[2]))
