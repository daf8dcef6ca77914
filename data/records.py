"""Finds sets of records on disk, and lists their files as if they were in folders.

`p3m records` writes them with TFDS (`data/*/*_dataset_builder.py`) to DIR/NAME/[CONFIG/]VERSION/.
Reading needs neither TFDS nor TensorFlow: `dataset_info.json` lists the splits and their shards,
and `record_index` finds the files inside the shards.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.record_index import read_index
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.paths import user_path

# The builders' names. Features of portrait builders are the roles of `sets.Example`.
P3M10K, SYNTHETIC, FOLDER = PORTRAITS = ("p3m10k", "p3m_synthetic", "portrait_folder")
CELEBAMASK = "celebamask_hq"
_INFO = "dataset_info.json"
_VERSION = "[0-9]*.[0-9]*.[0-9]*"
_AGAIN = "copy the folder again, or delete it and write the records again with `p3m records`"


@dataclass(frozen=True)
class Records:
    """A set of records: shards that a TFDS builder wrote for one configuration and version.

    Attributes:
      folder: the folder of the shards.
      name: the builder's name.
      config: the builder's configuration: the kind of faces, or the name of a folder; "" if the
        builder has no configurations.
    """

    folder: Path
    name: str
    config: str

    @property
    def synthetic(self) -> bool:
        """Whether the portraits were drawn by this project."""
        return self.name == SYNTHETIC

    @cached_property
    def splits(self) -> dict[str, dict[Path, int]]:
        """The shards of each split: {split: {shard: number of examples in it}}.

        Raises `DataSetError` if no splits are listed, or if the shards are not TFRecord files.
        """
        info, splits = _read_info(self.folder), {}
        try:
            form = info.get("fileFormat", "tfrecord")
            for split in info["splits"]:
                # Protobuf's JSON writes 64-bit numbers as strings.
                lengths, name = list(map(int, split["shardLengths"])), split["name"]
                stem = f"{self.name}-{name}.{form}"
                splits[name] = {
                    self.folder / f"{stem}-{number:05d}-of-{len(lengths):05d}": length
                    for number, length in enumerate(lengths)
                }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataSetError(f"{self.folder / _INFO}: lists no splits; {_AGAIN}.") from None
        if form != "tfrecord":
            raise DataSetError(
                f"{self.folder}: holds {form} files, which cannot be read; write the records as "
                "tfrecord with `p3m records`."
            )
        return splits

    def files(self, split: str) -> dict[str, dict[str, FilePart]]:
        """Returns {feature: {stem: file}} for a split, as in `sets.Scan`.

        Features that no example has are left out. Raises `DataSetError` if the split does not
        exist, or if a shard is missing or damaged.
        """
        if split not in self.splits:
            raise DataSetError(
                f"{self.folder}: has no {split}, only {', '.join(self.splits)}; choose the records "
                "that have it."
            )
        shards = list(self.splits[split])
        index = read_index(self.folder / f"{self.name}-{split}.index.npz", shards)
        counts = np.bincount(index.shard, minlength=len(shards)).tolist()
        for shard, count in zip(shards, counts, strict=True):
            if count != self.splits[split][shard]:
                raise DataSetError(
                    f"{shard}: holds {count} of {self.splits[split][shard]} examples; {_AGAIN}."
                )
        files: dict[str, dict[str, FilePart]] = {str(feature): {} for feature in index.features}
        stems = [os.fsdecode(stem) for stem in index.stems.tolist()]
        holders, starts = index.shard.tolist(), index.record.tolist()
        for column, (feature, by_stem) in enumerate(files.items()):
            offsets, lengths = index.offset[:, column].tolist(), index.length[:, column].tolist()
            rows = zip(stems, holders, offsets, lengths, starts, strict=True)
            for stem, holder, offset, length, start in rows:
                if length:
                    name = f"{stem}/{feature}"
                    by_stem[stem] = FilePart(shards[holder], offset, length, start, name)
        return {feature: by_stem for feature, by_stem in files.items() if by_stem}


def find_records(
    root: StrPath, names: tuple[str, ...], config: str | None = None
) -> Records | None:
    """Finds the set of records that one of the builders `names` wrote; None if there is none.

    `root` is the output folder of `p3m records`, or a folder inside it. A builder may have written
    several sets with different configurations, such as blurred and normal faces; then `config`
    selects one.

    Raises:
      DataSetError: there are still several sets to choose from, or a set's description cannot be
        read.
    """
    root = user_path(root)
    if (root / _INFO).is_file():
        found = [_records(root)]
    else:
        places = [root, *(root / name for name in names)]
        patterns = (_VERSION, f"*/{_VERSION}")
        folders = {f.parent for p in places for q in patterns for f in p.glob(f"{q}/{_INFO}")}
        found = [_records(folder) for folder in sorted(folders)]
    found = [records for records in found if records.name in names]
    if len(found) > 1 and config is not None:
        found = [r for r in found if r.config == config or r.name == FOLDER] or found
    if len(found) > 1:
        named = ", ".join(str(records.folder) for records in found)
        raise DataSetError(f"{root}: holds several sets of records; choose one of {named}.")
    return found[0] if found else None


def portrait_records(root: StrPath, faces: str) -> Records | None:
    """Finds the records of portraits at `root`; None if there are none.

    `faces` is "blurred" or "normal".

    Raises:
      DataSetError: the records contain only the other faces, or there are several sets.
    """
    root = user_path(root)
    if (root / "train").is_dir() or (root / "validation").is_dir():
        return None
    records = find_records(root, PORTRAITS, faces)
    if records is not None and records.name != FOLDER and records.config != faces:
        raise DataSetError(
            f"{records.folder}: holds {records.config} faces and no {faces} ones; use "
            f"{records.config} faces (--config.data.faces={records.config} in training), or write "
            f"the others with `p3m records --faces {faces}`."
        )
    return records


def _records(folder: Path) -> Records:
    info = _read_info(folder)
    try:
        return Records(folder, str(info["name"]), str(info.get("configName", "")))
    except (KeyError, AttributeError, TypeError):
        raise DataSetError(f"{folder / _INFO}: has no data set name; {_AGAIN}.") from None


def _read_info(folder: Path) -> dict:
    try:
        return json.loads((folder / _INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise DataSetError(f"{folder / _INFO}: cannot be read ({reason}); {_AGAIN}.") from None
