"""Files on disk and in buckets: atomic writes, addresses, files within files."""

import os

StrPath = str | os.PathLike[str]  # a path as users may give it
