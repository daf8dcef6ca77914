"""Reads a pickle's data without running any of it.

A pickle is a program for a small stack machine. This one knows the instructions that build plain
containers, numbers and strings, and leaves every name of a class or function to its caller, who
gives back what stands for it or refuses. Nothing is imported and nothing of the file's is called.
"""

import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from p3m_jax.errors import UserError


class PickleError(UserError):
    """A pickle that is damaged or holds what is refused; a phrase, without the file's name."""


class Inert:
    """Stands for an object of no interest, which takes whatever state it is given and drops it."""


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
_VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_VALUES |= {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_DAMAGE = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)
_MOST_STEPS = 1_000_000  # some seconds' worth; a checkpoint of 700 arrays takes 40,000
_LARGEST_KEY = 1 << 60  # whole numbers beyond can all have one hash
_MOST_REMEMBERED = 1 << 32
_KEYS = (str, int, float, bytes, type(None))  # hashing a nested key could go too deep


def read_pickle(
    file: BinaryIO,
    find_global: Callable[[str], Any],
    load_persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at the file's position, which ends up behind it.

    Args:
      file: a seekable file in memory.
      find_global: for "module name", what stands for it: a function of ours, which is called with
        the arguments in the file, or `Inert`. It raises `PickleError` to refuse.
      load_persistent: for the identity of an object kept elsewhere in the file, that object.

    Raises:
      PickleError: the pickle is damaged, or holds something that is refused.
    """
    machine = _Machine(find_global, load_persistent)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > _MOST_STEPS:
                raise PickleError("describes its arrays at absurd length")
            machine.step(opcode.name, argument)
        return machine.result()
    except PickleError:
        raise
    except _DAMAGE as error:
        reason = str(error)[:200]
        raise PickleError(f"its list of arrays is damaged ({reason}): copy it again") from error


class _Machine:
    def __init__(self, find_global, load_persistent):
        self.find_global, self.load_persistent = find_global, load_persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below the marks
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _PUTS:
            if argument >= _MOST_REMEMBERED:
                raise ValueError("an absurd number of a memo")
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name in _TUPLES:
            stack.append(tuple(self.pop(_TUPLES[name])))
        elif name == "TUPLE":
            self.close_mark(tuple)
        elif name in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif name == "LIST":
            self.close_mark(list)
        elif name == "APPEND":
            self.extend(self.pop(1))
        elif name in ("APPENDS", "ADDITEMS"):
            self.extend(self.pop_mark())
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "DICT":
            items = self.pop_mark()
            self.stack.append({})
            self.set_items(items)
        elif name == "SETITEM":
            self.set_items(self.pop(2))
        elif name == "SETITEMS":
            self.set_items(self.pop_mark())
        elif name == "GLOBAL":
            stack.append(self.find_global(argument))
        elif name == "STACK_GLOBAL":
            module, attribute = self.pop(2)
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise TypeError("a name that is no text")  # anything else could be endless as text
            stack.append(self.find_global(f"{module} {attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            stack.append(self.call(*self.pop(2)))
        elif name == "BUILD":
            self.build()
        elif name == "BINPERSID" and self.load_persistent:
            stack.append(self.load_persistent(self.pop(1)[0]))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"holds an object of a kind that is refused ({name})")

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        kept = len(self.stack) - count
        taken = self.stack[kept:]
        del self.stack[kept:]
        return taken

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def close_mark(self, kind: type) -> None:
        items = self.pop_mark()
        self.stack.append(kind(items))

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("items for what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("keys for what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise TypeError("a key that is neither text nor number")
            if isinstance(key, int) and abs(key) > _LARGEST_KEY:
                raise TypeError("a key that is too large a number")
            if key in target:
                raise PickleError(f"holds {key!r:.80} twice")
            target[key] = value

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple) or not callable(function):
            raise TypeError("a call without function or arguments")
        return Inert() if function is Inert else function(*arguments)

    def build(self) -> None:
        self.pop(1)  # what PyTorch adds to a dictionary is versions of layers
        if not isinstance(self.stack[-1], dict | Inert):
            raise TypeError("a state for what has none")

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise ValueError("it does not end with one value")
        return self.stack[0]
