"""Reads the files of examples inside a tf.data pipeline: whole files, and parts of records.

A `Place` says where the bytes of a file are. If all files are whole, it is only their names, and
they are read directly. If a file is a part of a record, the whole record is read and the part is
cut out. TFRecordDataset can read a record, with its
checksum, from any byte given as a tensor. So all files of an example need only one read, everything
stays in the graph, and no state is kept. (FixedLengthRecordDataset could read only the part, but it
first reads everything before it.)
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

    Attributes:
      name: string, the file's name in errors; "" if there is no file.
      path: string, the whole file that contains its bytes.
      record: int64, the byte of `path` at which the record with the file begins.
      offset, length: int64, in bytes of the record's data; a length of -1 means all of `path`.
    """

    name: Tensor
    path: Tensor
    record: Tensor
    offset: Tensor
    length: Tensor


# The positions of one file or of N files. If all are whole files, only a string tensor of names.
Place = Tensor | FilePositions


def places(files: Sequence[Path | FilePart | None]) -> Place:
    """Makes the `Place` of N files: names (N,) if all files are whole, else `FilePositions`."""
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
    """Selects the `Place` of file `number` from the `Place` of N files."""
    return tf.nest.map_structure(lambda values: values[number], places)


def name_of(place: Place) -> Tensor:
    """Returns the name of a file, string (); "" if there is no file."""
    return place.name if isinstance(place, FilePositions) else place


def read_record(place: Place) -> Tensor:
    """Reads all data of the record that contains a file, string (); "" for a whole file."""
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
    """Raises `DataSetError` if the record that contains `file` cannot be read.

    Does nothing for a file that is not part of a record.
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
    """Reads the bytes of a file, string ().

    If the file is a part of a record, `record` may be the result of `read_record`, so that the
    record is not read again.
    """
    if not isinstance(place, FilePositions):
        return tf.io.read_file(place)

    def part() -> Tensor:
        data = read_record(place) if record is None else record
        return tf.strings.substr(data, place.offset, place.length)

    return tf.cond(place.length == _WHOLE, lambda: tf.io.read_file(place.path), part)
