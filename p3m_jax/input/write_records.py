"""Writing a set of records with a TFDS builder: whole, and never over another."""

import contextlib
import errno
import io
import os
import shutil
from pathlib import Path

from p3m_jax.data.folders import DataSetError, user_path
from p3m_jax.data.records import Records, find_records
from p3m_jax.input import host_tensorflow
from p3m_jax.storage.files import locked

tf = host_tensorflow()


def write_records(
    builder, config, source, output, *, scratch, shards: int | None = None
) -> Records:
    """Writes the records of a data set, and their index, below `output`.

    TFDS writes into a hidden-away folder beside the final one and renames it at the end: what is
    there under its name is complete. What a killed call left is removed by the next.

    Args:
      builder: a class of `data/*/*_dataset_builder.py`.
      config: which of its configurations, by name or itself; None where it has none.
      source: the folder of the data set.
      scratch: an empty folder that TFDS may put things into, which are of no use afterwards.
      shards: files per split, at most as many as pictures; TFDS chooses if None.

    Raises:
      DataSetError: the records are there already, or the set or the output cannot be used.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    output = user_path(output)
    if output.exists() and not output.is_dir():
        raise DataSetError(f"{output}: is a file; name a folder for the records.")
    output.mkdir(parents=True, exist_ok=True)
    builder = builder(data_dir=os.fspath(output), config=config)
    folder = Path(builder.data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    refusal = DataSetError(f"{folder}: another process is writing it; wait for it.")
    with locked(folder.parent, refusal):
        if folder.exists():
            raise DataSetError(
                f"{folder}: is there already; delete it to write these records anew, or name "
                "another folder with -o."
            )
        for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
            shutil.rmtree(leftover)
        options = tfds.download.DownloadConfig(manual_dir=os.fspath(source), num_shards=shards)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS's talk of downloads
                builder.download_and_prepare(download_dir=scratch, download_config=options)
        except (OSError, tf.errors.OpError) as error:
            full = isinstance(error, tf.errors.ResourceExhaustedError)
            full = full or getattr(error, "errno", None) == errno.ENOSPC
            remedy = "make room" if full else "mend that"
            reason = str(error).splitlines()[0]
            raise DataSetError(
                f"{folder}: cannot be written ({reason}); {remedy} and start again."
            ) from error
    records = find_records(folder, (builder.name,))
    for split in records.splits:
        records.files(split)  # makes the index, while what it takes is still in memory
    return records
