"""Reads the files of a data set inside a tf.data pipeline.

A file is either a separate file on disk, or a part of a record in a TFRecord file (see
`p3m_jax.storage.file_part`). A `Place` holds the positions of the files' bytes as tensors. If all
files are separate, it holds only their names.

A separate file is read directly. For a part, the whole record is read, and the part is cut out. A
record contains a picture and its labels, so one read is enough for all of them. TFRecordDataset can
read a record, with its checksum, from any byte given as a tensor. So everything stays in the graph,
and no state is kept. FixedLengthRecordDataset could read only the part, but it first reads
everything before the part.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from p3m_jax.data.folders import DataSetError
from p3m_jax.input import Tensor, tf
from p3m_jax.storage.file_part import FilePart

_WHOLE = -1
_FRAME = 12  # bytes before a record's data: its length and the checksum of the length


class FilePositions(NamedTuple):
    """The positions of the bytes of one file or of N files; tensors () or (N,).

    A file is a part of a TFRecord file, or a separate file on disk.

    Attributes:
      name: string, the file's name for error messages; "" if there is no file.
      path: string, the TFRecord file or the separate file.
      record: int64, the byte of the TFRecord file at which the record with the part begins.
      offset: int64, the part's first byte, counted from the start of the record's data.
      length: int64, the part's number of bytes; -1 for a separate file.
    """

    name: Tensor
    path: Tensor
    record: Tensor
    offset: Tensor
    length: Tensor


# The positions of one file or of N files. If all are whole files, only a string tensor of names.
Place = Tensor | FilePositions


def places(files: Sequence[Path | FilePart | None]) -> Place:
    """Makes the `Place` of N files: tensors that tell a pipeline where their bytes are.

    If no file is a `FilePart`, this is only a string tensor (N,) of names, else `FilePositions`.
    None means that there is no file.
    """
    names = tf.constant([str(file or "") for file in files])
    if not any(isinstance(file, FilePart) for file in files):
        return names

    def numbers(file: Path | FilePart | None) -> tuple[int, int, int]:
        if not isinstance(file, FilePart):
            return 0, 0, _WHOLE
        return file.record, file.offset - file.record - _FRAME, file.length

    paths = tf.constant([str(getattr(file, "path", file) or "") for file in files])
    columns = zip(*map(numbers, files), strict=True)
    return FilePositions(names, paths, *(tf.constant(column, tf.int64) for column in columns))


def place_at(places: Place, number: int | Tensor) -> Place:
    """Selects the position of the file with index `number` from a result of `places`."""
    return tf.nest.map_structure(lambda values: values[number], places)


def name_of(place: Place) -> Tensor:
    """Returns the name of a file, string (); "" if there is no file."""
    return place.name if isinstance(place, FilePositions) else place


def read_record(place: Place) -> Tensor:
    """Reads the TFRecord record that contains a file, and returns all its data, string ().

    Returns "" if the file is not part of a record.
    """
    if not isinstance(place, FilePositions):
        return tf.constant("")

    def record() -> Tensor:
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[place.path], compression_type="", buffer_size=0, byte_offsets=[place.record]
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return records.take(1).get_single_element()

    return tf.cond(place.length == _WHOLE, lambda: "", record)


def check_record(file: Path | FilePart) -> None:
    """Raises `DataSetError` if `file` is part of a TFRecord record that cannot be read.

    Does nothing for a separate file.
    """
    if not isinstance(file, FilePart):
        return
    try:
        read_record(place_at(places([file]), 0))
    except tf.errors.OpError:
        raise DataSetError(
            f"{file.path}: the record of {file.name} is cut off or damaged; copy the shard again, "
            "or delete the folder and write the records again with `p3m records`."
        ) from None


def read_contents(place: Place, record: Tensor | None = None) -> Tensor:
    """Reads a file and returns its bytes, string ().

    If the file is part of a TFRecord record, the record is read first. To avoid this, pass the
    result of `read_record` as `record`.
    """
    if not isinstance(place, FilePositions):
        return tf.io.read_file(place)

    def part() -> Tensor:
        data = read_record(place) if record is None else record
        return tf.strings.substr(data, place.offset, place.length)

    return tf.cond(place.length == _WHOLE, lambda: tf.io.read_file(place.path), part)
