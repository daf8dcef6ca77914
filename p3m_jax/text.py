"""Showing text that comes out of files: names, provenance, EXIF, colour profiles.

Such text can hold escape sequences that change the terminal, line breaks that forge lines of the
output, marks that reverse the direction of what follows, and bytes that are no text at all. What is
printed goes through this module, which shows such characters as escapes (\\n, \\x1b, \\u202e).
"""

import sys
from collections.abc import Iterator, Mapping


def shown(text: object) -> str:
    """`text` on one line: every character that is not printable is shown as its escape."""
    valid = str(text).encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in valid
    )


def printable(text: str) -> str:
    """As `shown`, for a text of several lines: only its line feeds stay."""
    return "\n".join(map(shown, text.split("\n")))


def counted(number: int, thing: str) -> str:
    """A number of things: "1 picture", "1,204 pictures"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def phrases(values: Mapping, within: str = "") -> Iterator[str]:
    """What values by name tell, a phrase each: "run: a", and of nested ones "source file: b"."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from phrases(value, f"{within}{name} ")
        else:
            yield f"{within}{name}: {value}"


def say(text: str) -> None:
    """Prints a text of one or several lines; foreign text in it must be `shown` before."""
    print(printable(text))


def warn(*lines: object) -> None:
    """Prints each argument on one line of the error output."""
    for line in lines:
        print(shown(line), file=sys.stderr)
