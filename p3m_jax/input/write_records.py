"""Writes a set of records with a TFDS builder: completely, and never over existing records."""

import contextlib
import errno
import io
import os
import shutil
from pathlib import Path
from typing import Any

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.records import Records, find_records
from p3m_jax.input import tf
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import locked
from p3m_jax.storage.paths import output_folder


def write_records(
    builder: type[Any],
    config: Any,
    source: StrPath,
    output: StrPath,
    *,
    scratch: StrPath,
    shards: int | None = None,
) -> Records:
    """Writes the records of a data set, and their index, into `output`.

    TFDS writes into a temporary folder next to the final one and renames it at the end, so a folder
    with the final name is complete. Files left by a killed call are removed by the next call.

    Args:
      builder: a class of `data/*/*_dataset_builder.py`.
      config: one of the builder's configurations or its name; None if the builder has none.
      source: the folder of the data set.
      scratch: an empty folder for TFDS's temporary files, which are not needed afterwards.
      shards: files per split, at most one per picture; TFDS chooses if None.

    Raises:
      DataSetError: the records already exist, the data set cannot be read, or `output` cannot be
        written.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    output = output_folder(output, "choose a folder for the records with -o")
    output.mkdir(parents=True, exist_ok=True)
    builder = builder(data_dir=os.fspath(output), config=config)
    folder = Path(builder.data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    refusal = DataSetError(f"{folder}: another process is writing it; wait until it ends.")
    with locked(folder.parent, refusal):
        if folder.exists():
            raise DataSetError(
                f"{folder}: already exists; delete it to write these records again, or choose "
                "another folder with -o."
            )
        for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
            shutil.rmtree(leftover)
        options = tfds.download.DownloadConfig(manual_dir=os.fspath(source), num_shards=shards)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # hides TFDS's messages on downloads
                builder.download_and_prepare(download_dir=scratch, download_config=options)
        except (OSError, tf.errors.OpError) as error:
            full = isinstance(error, tf.errors.ResourceExhaustedError)
            full = full or getattr(error, "errno", None) == errno.ENOSPC
            remedy = "free some space" if full else "fix this"
            reason = str(error).splitlines()[0]
            raise DataSetError(
                f"{folder}: cannot be written ({reason}); {remedy} and run the command again."
            ) from error
    records = find_records(folder, (builder.name,))
    assert records is not None  # they were just written
    for split in records.splits:
        records.files(split)  # builds the index while the shards are still cached in memory
    return records
