"""Folders in a bucket of Google Cloud Storage, which checkpoints may lie in as in any other."""

import importlib.util
import re
from pathlib import Path

from etils import epath

from p3m_jax.errors import UserError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/")
_PACKAGES = ("gcsfs", "google.cloud.storage")


class BucketError(UserError):
    """A bucket that cannot be reached from here; the message names it and the remedy."""


def is_address(path) -> bool:
    """Whether `path` is an address such as gs://bucket/run, not a name of the file system."""
    return bool(_SCHEME.match(str(path)))


def folder_or_bucket(path) -> Path | epath.Path:
    """`path` as a `Path`, an address gs://BUCKET/FOLDER as what does the same there.

    Raises:
      BucketError: an address of another kind, or what reads buckets is not installed.
    """
    if not is_address(path):
        return Path(path)
    if not re.match(r"gs://[^/]+", str(path)):
        raise BucketError(
            f"{path}: of addresses gs://BUCKET/FOLDER alone are known; mount other buckets."
        )
    if not all(map(_is_installed, _PACKAGES)):
        raise BucketError(
            f'{path}: takes packages that are not installed; pip install -e ".[bucket]".'
        )
    return epath.Path(path)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that would hold it
        return False
