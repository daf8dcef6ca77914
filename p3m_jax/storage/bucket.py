"""Handles addresses of folders in Google Cloud Storage, such as gs://BUCKET/FOLDER.

Checkpoints can be saved in these folders.
"""

import importlib.util
import re
from pathlib import Path

from etils import epath

from p3m_jax.errors import UserError
from p3m_jax.storage import StrPath

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/")
_PACKAGES = ("gcsfs", "google.cloud.storage")


class BucketError(UserError):
    """A bucket cannot be used; the message names the address and the remedy."""


def is_address(path: StrPath) -> bool:
    """Whether `path` is an address such as gs://bucket/run, not a path in the file system."""
    return bool(_SCHEME.match(str(path)))


def folder_or_bucket(path: StrPath) -> Path | epath.Path:
    """Converts `path` to a `Path`; an address gs://BUCKET/FOLDER becomes an `epath.Path`.

    Raises:
      BucketError: `path` is another kind of address, such as s3://BUCKET/FOLDER, or the packages
        for buckets are not installed.
    """
    if not is_address(path):
        return Path(path)
    if not re.match(r"gs://[^/]+", str(path)):
        raise BucketError(
            f"{path}: only addresses of the form gs://BUCKET/FOLDER are supported; mount other "
            "buckets as folders."
        )
    if not all(map(_is_installed, _PACKAGES)):
        raise BucketError(
            f"{path}: requires packages that are not installed; install them with: "
            'pip install -e ".[bucket]".'
        )
    return epath.Path(path)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is not installed
        return False
