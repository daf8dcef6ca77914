"""Reading the files of examples inside a tf.data pipeline: whole files, and parts of records.

Where all are whole files they are named by strings and read as ever. Of a part the record that
holds it is read, which TFRecordDataset does from any place that a tensor gives, with its checksum;
the part is cut out of it. So all of an example's files cost one read, nothing leaves the graph and
no state is kept. (FixedLengthRecordDataset would read the part alone, but it comes to its place by
reading all that lies before.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from p3m_jax.data.folders import DataSetError
from p3m_jax.input import host_tensorflow
from p3m_jax.storage.file_part import FilePart

tf = host_tensorflow()

_WHOLE = -1
_FRAME = 12  # bytes of a record before its data: its length and the checksum of that


class Places(NamedTuple):
    """Where the bytes of files lie, tensors of one shape; () for one file.

    Attributes:
      name: string, what errors call the file; "" for none.
      path: string, the file that holds it.
      record: int64, byte of `path` at which the record begins that holds it.
      offset, length: int64, in bytes of the record's data; a length of -1 is all of `path`.
    """

    name: object
    path: object
    record: object
    offset: object
    length: object


def places(files: Sequence[Path | FilePart | None]):
    """Where files lie: a string tensor (N,) of names where all are whole, else `Places` (N,)."""
    names = tf.constant([str(file or "") for file in files])
    if not any(isinstance(file, FilePart) for file in files):
        return names

    def numbers(file) -> tuple[int, int, int]:
        if not isinstance(file, FilePart):
            return 0, 0, _WHOLE
        return file.record, file.offset - file.record - _FRAME, file.length

    paths = tf.constant([str(getattr(file, "path", file) or "") for file in files])
    columns = zip(*map(numbers, files), strict=True)
    return Places(names, paths, *(tf.constant(column, tf.int64) for column in columns))


def place_at(places, number):
    """Of the places of N files that of one, by its number."""
    return tf.nest.map_structure(lambda values: values[number], places)


def name_of(place):
    """The name of a file, string (); "" where there is none."""
    return place.name if isinstance(place, Places) else place


def read_record(place):
    """The data of the record that holds a file, string (); "" for a whole file."""
    if not isinstance(place, Places):
        return tf.constant("")

    def record():
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[place.path], compression_type="", buffer_size=0, byte_offsets=[place.record]
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return records.take(1).get_single_element()

    return tf.cond(place.length == _WHOLE, lambda: "", record)


def check_record(file: Path | FilePart) -> None:
    """Raises `DataSetError` where the record that holds a file cannot be read; whole files pass."""
    try:
        read_record(place_at(places([file]), 0))
    except tf.errors.OpError:
        raise DataSetError(
            f"{file.path}: the record of {file.name} is cut off or damaged; copy the shard again, "
            "or delete the folder and write the records anew with `p3m records`."
        ) from None


def read_contents(place, record=None):
    """The bytes of a file, string (); of a part from its `record`, where that is read already."""
    if not isinstance(place, Places):
        return tf.io.read_file(place)

    def part():
        data = read_record(place) if record is None else record
        return tf.strings.substr(data, place.offset, place.length)

    return tf.cond(place.length == _WHOLE, lambda: tf.io.read_file(place.path), part)
