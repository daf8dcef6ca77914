"""Prints text safely, including text from files: names, provenance, EXIF, colour profiles.

Text from files can hold escape sequences that change the terminal, line breaks that forge lines of
output, marks that reverse the writing direction, and bytes that are not text. All output is printed
by this module, which shows such characters as escapes (\\n, \\x1b, \\u202e). Only `printable` and
`say` keep line breaks.
"""

import sys
from collections.abc import Iterator, Mapping


def shown(text: object) -> str:
    """Returns `text` on one line; characters that are not printable are replaced by escapes."""
    # Lone surrogates, which cannot be encoded, become escapes, too.
    valid = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in valid
    )


def printable(text: str) -> str:
    """Escapes each line of `text` like `shown`, and keeps the line feeds."""
    return "\n".join(map(shown, text.split("\n")))


def counted(number: int, thing: str) -> str:
    """Joins a number and its noun: "1 picture", "1,204 pictures"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def phrases(values: Mapping, within: str = "") -> Iterator[str]:
    """Yields a phrase "NAME: VALUE" for each value of a mapping.

    If a value is itself a mapping, its name comes before the names inside that mapping:
    {"source": {"file": "b"}} yields "source file: b". `within` is a prefix for all names.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from phrases(value, f"{within}{name} ")
        else:
            yield f"{within}{name}: {value}"


def say(text: str) -> None:
    """Prints a string of one or several lines; control characters are escaped.

    Line breaks are not escaped. Pass text from files through `shown` first, which escapes them.
    """
    print(printable(text))


def warn(*lines: object) -> None:
    """Prints each argument as one line to standard error."""
    for line in lines:
        print(shown(line), file=sys.stderr)
