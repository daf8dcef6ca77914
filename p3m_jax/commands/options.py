"""Option types and options that several commands share."""

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from p3m_jax.jobs.share import Share
from p3m_jax.runtime import distributed
from p3m_jax.runtime.machine import available_cores
from p3m_jax.text import shown

# A parser, or a group of options in it.
Options = argparse._ActionsContainer


class Parser(argparse.ArgumentParser):
    """An argument parser whose error messages fit on one line.

    Messages contain the wrong argument. It may be a file name with line breaks, which are escaped.
    """

    def error(self, message: str) -> NoReturn:
        """Prints the usage and `message`, and exits with code 2."""
        super().error(shown(message))

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parses the arguments; exits with code 2 if an argument is an empty string.

        As a path, an empty string would silently mean the current folder.
        """
        parsed = super().parse_args(args, namespace)
        values = vars(parsed).values()
        if any("" in value if isinstance(value, list) else value == "" for value in values):
            self.error("one of the given names is empty; a shell variable may be unset")
        return parsed


def at_least(lowest: int, highest: float = math.inf) -> Callable[[str], int]:
    """Returns an option's `type` that accepts whole numbers from `lowest` to `highest`.

    Any other value ends the program with exit code 2.
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least {lowest}")
        if value > highest:
            raise argparse.ArgumentTypeError(f"{value} is too large; it must be at most {highest}")
        return value

    return number


# File endings that are refused as the ending of an output folder; other dots are allowed.
_FILES = {".safetensors", ".onnx", ".pth", ".pt", ".ckpt", ".bin", ".h5", ".hdf5", ".keras", ".pb"}
_FILES |= {".tflite", ".npz", ".npy", ".msgpack", ".pkl", ".pickle", ".gguf", ".mlmodel"}
_FILES |= {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic"}
_FILES |= {".avif", ".psd", ".exr", ".svg", ".pdf", ".mp4", ".mov", ".mkv", ".webm", ".avi"}
_FILES |= {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".json", ".jsonl", ".csv", ".txt", ".md"}


def add_output(parser: Options, text: str, *endings: str, metavar: str = "DIR") -> None:
    """Adds the required option `-o` for the output folder, with the help `text`.

    If `endings` are given (such as ".safetensors"), `-o` may also be a file with one of them.
    """
    parser.add_argument(
        "-o", "--output", required=True, type=_output(*endings), metavar=metavar, help=text
    )


def _output(*endings: str) -> Callable[[str], str]:
    """Returns an option's `type` that accepts an output folder, or a file with one of `endings`.

    The ending of any other file format, or "-" for standard output, ends the program with exit
    code 2. An existing folder may have any name.
    """
    wanted = " or ".join(["a folder", *(f"a file *{ending}" for ending in endings)])

    def name(text: str) -> str:
        ending = Path(text).suffix.lower()
        if text == "-":
            raise argparse.ArgumentTypeError(
                f"this command does not write to standard output; choose {wanted}"
            )
        if ending in _FILES - set(endings) and not Path(text).is_dir():
            raise argparse.ArgumentTypeError(
                f"{text!r}: this command does not write {ending} files; choose {wanted}"
            )
        return text

    return name


def share(text: str) -> Share:
    """Parses "I/N", which chooses one of N parts of the pictures; used as an option's `type`.

    I is the number of the part, from 0 to N-1.
    """
    try:
        return Share.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def gigabytes(text: str) -> int:
    """Converts a number of gigabytes (10^9 bytes) to bytes; used as an option's `type`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes")
    return int(value * 1e9)


def strength(text: str) -> float:
    """Parses the strength of an obfuscation; used as an option's `type`."""
    from p3m_jax.faces.obfuscation import Obfuscation

    try:
        return Obfuscation("blur", float(text)).check().strength
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_compilation_cache(parser: Options) -> None:
    """Adds `--compilation-cache`; pass its value to `p3m_jax.runtime.compilation.keep_compiled`."""
    parser.add_argument(
        "--compilation-cache",
        metavar="DIR|off",
        help="folder that keeps compiled programs, so that the next start need not compile; off: "
        "keep none (default: $JAX_COMPILATION_CACHE_DIR if set, else p3m-jax/compiled in "
        "$XDG_CACHE_HOME or ~/.cache)",
    )


def add_distributed(parser: Options) -> None:
    """Adds `--distributed`; pass its value to `p3m_jax.runtime.distributed.connected`."""
    parser.add_argument(
        "--distributed",
        default="off",
        metavar="HOW",
        help=f"run several processes as one evaluation: {distributed.HELP} (default: off)",
    )


def add_workers(parser: Options, work: str) -> None:
    """Adds `--workers`, the number of threads; by default one per core.

    `work` says what the threads do, for the help ("compute scores").
    """
    parser.add_argument(
        "--workers",
        type=at_least(1),
        default=available_cores(),
        metavar="N",
        help=f"number of threads that {work} (default: all cores)",
    )


TEST_SETS = ("P3M-500-P", "P3M-500-NP", "RealWorldPortrait-636")


def add_test_set(parser: Options, data: str) -> None:
    """Adds `--set` and `--data` to choose a test set; `data` is the help text of `--data`."""
    parser.add_argument("--set", choices=TEST_SETS, help="a test set; requires --data")
    parser.add_argument("--data", metavar="DIR", help=data)


def add_pairs(
    parser: Options,
    *,
    pictures: str,
    mattes: str = "their mattes, matched by file stem",
    trimaps: str | None = "their trimaps, matched by file stem",
    facemasks: str,
) -> None:
    """Adds options for the user's own files: `--pictures`, `--mattes`, `--trimaps`, `--facemasks`.

    Each argument is the help text of the option with the same name. If `trimaps` is None,
    `--trimaps` is not added.
    """
    parser.add_argument("--pictures", metavar="DIR", help=pictures)
    parser.add_argument("--mattes", metavar="DIR", help=mattes)
    if trimaps is not None:
        parser.add_argument("--trimaps", metavar="DIR", help=trimaps)
    parser.add_argument("--facemasks", metavar="DIR", help=facemasks)


def add_faces(parser: Options) -> None:
    """Adds `--faces`, which selects the folder of pictures with blurred or with normal faces.

    It applies only to data sets in P3M-10k's layout; see `p3m_jax.data.layouts`.
    """
    parser.add_argument(
        "--faces",
        choices=("blurred", "normal"),
        help="which faces to read: blurred (folder blurred_image) or normal (folder "
        "original_image). P3M-10k has normal faces only in P3M-500-NP (default: normal there, "
        "blurred elsewhere)",
    )
