"""Kinds of values that several commands' options take, and options that several commands have."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from p3m_jax.jobs.share import Share
from p3m_jax.runtime import distributed
from p3m_jax.text import shown


class Parser(argparse.ArgumentParser):
    """Shows wrong arguments, which a shell may have made of file names, on one line."""

    def error(self, message):
        """As argparse does."""
        super().error(shown(message))


def at_least(lowest: int) -> Callable[[str], int]:
    """An option's `type`: a whole number of at least `lowest`; others end with exit code 2."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is too small; {lowest} at least")
        return value

    return number


# What people expect to get as one file. Any other dot in a folder's name is the user's affair.
_FILES = {".safetensors", ".onnx", ".pth", ".pt", ".ckpt", ".bin", ".h5", ".hdf5", ".keras", ".pb"}
_FILES |= {".tflite", ".npz", ".npy", ".msgpack", ".pkl", ".pickle", ".gguf", ".mlmodel"}
_FILES |= {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic"}
_FILES |= {".avif", ".psd", ".exr", ".svg", ".pdf", ".mp4", ".mov", ".mkv", ".webm", ".avi"}
_FILES |= {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".json", ".jsonl", ".csv", ".txt", ".md"}


def add_output(parser, text: str, *endings: str, metavar: str = "DIR") -> None:
    """Adds `-o`, required, with its help `text`; `endings` are those of `_output`."""
    parser.add_argument(
        "-o", "--output", required=True, type=_output(*endings), metavar=metavar, help=text
    )


def _output(*endings: str) -> Callable[[str], str]:
    """An option's `type`: a folder to write to, or a file with one of these endings.

    What promises a file of another kind, or means standard output, ends with exit code 2. A folder
    that exists may have any name.
    """
    wanted = " or ".join(["a folder", *(f"a file *{ending}" for ending in endings)])

    def name(text: str) -> str:
        ending = Path(text).suffix.lower()
        if text == "-":
            raise argparse.ArgumentTypeError(f"nothing goes to standard output; name {wanted}")
        if ending in _FILES - set(endings) and not Path(text).is_dir():
            raise argparse.ArgumentTypeError(
                f"{text!r} is not written as a file {ending}; name {wanted}"
            )
        return text

    return name


def share(text: str) -> Share:
    """An option's `type`: a share of a collection, I/N."""
    try:
        return Share.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def gigabytes(text: str) -> int:
    """An option's `type`: so many gigabytes, as bytes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes")
    return int(value * 1e9)


def add_compilation_cache(parser) -> None:
    """Adds `--compilation-cache`, whose value `p3m_jax.runtime.compilation.keep_compiled` takes."""
    parser.add_argument(
        "--compilation-cache",
        metavar="DIR|off",
        help="keeps compiled programs, so that the next start need not compile (default: "
        "$JAX_COMPILATION_CACHE_DIR, else p3m-jax/compiled in $XDG_CACHE_HOME or ~/.cache)",
    )


def add_distributed(parser) -> None:
    """Adds `--distributed`, whose value `p3m_jax.runtime.distributed.connected` takes."""
    parser.add_argument(
        "--distributed",
        default="off",
        metavar="HOW",
        help=f"several processes as one evaluation: {distributed.HELP} (default: off)",
    )


def add_faces(parser) -> None:
    """Adds `--faces`: which pictures of a set in P3M-10k's layout, see `p3m_jax.data.layouts`."""
    parser.add_argument(
        "--faces",
        choices=("blurred", "normal"),
        help="normal: take original_image, ordinary faces, which a set of your own may hold "
        "(default: as P3M-10k publishes them)",
    )
