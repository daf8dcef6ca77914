"""Reads a pickle's data without running any of its code.

A pickle is a program for a small stack machine. The machine here supports only the instructions
that build plain containers, numbers and strings. If the pickle names a class or a function, a
callback of `read_pickle` returns a replacement for it, or refuses it. Nothing is imported, and no
code from the file is called.
"""

import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from p3m_jax.errors import UserError


class PickleError(UserError):
    """A pickle is damaged, or holds an object that is refused.

    The message is a phrase without the file's name.
    """


class Inert:
    """Replaces an object in a pickle whose data are not needed; the data are discarded."""


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
_VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_VALUES |= {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_DAMAGE = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)
_MOST_STEPS = 1_000_000  # takes a few seconds; a checkpoint of 700 arrays needs 40,000 steps
_LARGEST_KEY = 1 << 60  # larger integers could be chosen so that all have the same hash
_MOST_REMEMBERED = 1 << 32
_KEYS = (str, int, float, bytes, type(None))  # hashing a nested key could recurse too deeply


def read_pickle(
    file: BinaryIO,
    find_global: Callable[[str], Any],
    load_persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle from the file's current position, which moves to the end of the pickle.

    Args:
      file: a seekable file in memory.
      find_global: called for each class or function that the pickle names, with the string
        "module name". It returns a replacement, such as a function of this program or `Inert`, or
        raises `PickleError` to refuse the name. If the pickle calls the class or function, the
        replacement function is called with the same arguments.
      load_persistent: called for each object that is stored outside the pickle, with the identity
        of the object. It returns the object. If `load_persistent` is None, such objects are
        refused.

    Raises:
      PickleError: the pickle is damaged, or holds an object that is refused.
    """
    machine = _Machine(find_global, load_persistent)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > _MOST_STEPS:
                raise PickleError("its tensor list is far too long for a checkpoint")
            machine.step(opcode.name, argument)
        return machine.result()
    except PickleError:
        raise
    except _DAMAGE as error:
        reason = str(error)[:200]
        raise PickleError(
            f"the tensor list is damaged ({reason}); download the file again"
        ) from error


class _Machine:
    def __init__(
        self,
        find_global: Callable[[str], Any],
        load_persistent: Callable[[Any], Any] | None,
    ) -> None:
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
                raise ValueError("a memo number that is far too large")
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
                # The text of any other object could be endless.
                raise TypeError("a name that is not text")
            stack.append(self.find_global(f"{module} {attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            stack.append(self.call(*self.pop(2)))
        elif name == "BUILD":
            self.build()
        elif name == "BINPERSID" and self.load_persistent:
            stack.append(self.load_persistent(self.pop(1)[0]))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"holds a kind of object that is refused ({name})")

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
            raise TypeError("items for something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("keys for something that is not a dictionary")
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
        self.pop(1)  # PyTorch adds only versions of layers to a dictionary
        if not isinstance(self.stack[-1], dict | Inert):
            raise TypeError("a state for an object that has none")

    def result(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise ValueError("it does not end with one value")
        return self.stack[0]
