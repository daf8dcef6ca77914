"""A share of a collection: the part that one of several processes works on."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Share(NamedTuple):
    """One of `count` equal shares of the pictures; `index` counts from 0.

    Each share can be processed by a different process or host.
    """

    index: int  # type: ignore[assignment]  # hides a method of tuples, here and below
    count: int  # type: ignore[assignment]

    def of(self, values: Sequence[T]) -> Sequence[T]:
        """Returns this share of `values`: every `count`-th value, starting at `index`."""
        return values[self.index :: self.count]

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Reads a share from "I/N"; raises ValueError for anything else."""
        numbers = re.fullmatch(r"(\d+)/(\d+)", text)
        if numbers is None or int(numbers[1]) >= int(numbers[2]):
            raise ValueError(
                f"{text!r} is not a share; use I/N, such as 0/4 to 3/4 for four shares"
            )
        return cls(int(numbers[1]), int(numbers[2]))
