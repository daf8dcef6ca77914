"""The base class of this project's TFDS builders, which write a data set's files unchanged.

Every file of an example is one feature with the file's own bytes. The builders decode and encode
nothing, so the records contain exactly the same pictures as the folders. A kind of file that every
example has, such as the picture, is an `Image` feature, which `tfds.load` decodes. A kind that may
be missing, such as the trimap, is a string feature: the encoded bytes (decode them with
`tf.io.decode_image`), or "" if the file is missing. Nothing is downloaded: TFDS's `manual_dir` is
the data set's folder, or contains it.

TFDS writes the examples in the order of their hashed names, so a program that reads the shards in
sequence gets the examples shuffled. This project's own reader lists the examples sorted by stem.
"""

import abc
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from tqdm import tqdm

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import find_test_set, training_set, validation_sets
from p3m_jax.data.record_index import STEM
from p3m_jax.data.records import SYNTHETIC
from p3m_jax.data.sets import REQUIRED, ROLES, DataSet

_ALWAYS = REQUIRED[:2]  # picture and matte
FACES_CONFIGS = (
    tfds.core.BuilderConfig(name="blurred", description="Faces as P3M-10k publishes them."),
    tfds.core.BuilderConfig(name="normal", description="original_image, which only its owner has."),
)


# mypy does not see that TFDS's base class takes `skip_registration`.
class EncodedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder that writes every file of an example as one feature.

    Attributes:
      ALWAYS: the names of the features whose files every example has.
      PERHAPS: the names of the features whose files are optional.
      HOMEPAGE, LICENSE: metadata of the records.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The files' own bytes."}  # noqa: RUF012 - TFDS's own form
    HOMEPAGE = "https://github.com/JizhiziLi/P3M"
    LICENSE = ""
    ALWAYS: tuple[str, ...] = _ALWAYS
    PERHAPS: tuple[str, ...] = tuple(role for role in ROLES if role not in _ALWAYS)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {STEM: tfds.features.Text(doc="The files' common name.")}
        features |= {
            name: tfds.features.Image(shape=(None, None, 1 if name == "matte" else 3))
            for name in self.ALWAYS
        }
        features |= {
            name: tfds.features.Text(doc="A file's bytes; empty if there is no file.")
            for name in self.PERHAPS
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=self.ALWAYS if len(self.ALWAYS) == 2 else None,
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[bytes, dict]]]:
        splits = self.splits_of(Path(dl_manager.manual_dir))
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(
        self, split: str, examples: list[tuple[str, dict]]
    ) -> Iterator[tuple[bytes, dict]]:
        # TFDS's own bars, which name temporary files, are hidden; this one replaces them.
        for stem, files in tqdm(examples, desc=f"Reading {split}", unit="picture"):
            named = os.fsencode(stem)  # a file name need not be valid text
            perhaps = {
                name: files[name].read_bytes() if files.get(name) else b"" for name in self.PERHAPS
            }
            always = {name: os.fspath(files[name]) for name in self.ALWAYS}
            yield named, {STEM: named} | always | perhaps

    @abc.abstractmethod
    def splits_of(self, folder: Path) -> dict[str, list[tuple[str, dict]]]:
        """Returns the files of every split: {split: [(stem, {feature: file}), ...]}.

        Raises `DataSetError` if `folder` does not have the builder's layout.
        """

    def portraits(self, dataset: DataSet) -> list[tuple[str, dict]]:
        """Returns [(stem, {role: file}), ...] for the examples of a data set.

        A role is a kind of file, such as "matte". A file that an example lacks is None.

        Raises `DataSetError` if the portraits are synthetic but the builder is for real ones, or if
        they are real but the builder is for synthetic ones.
        """
        if dataset.synthetic != (self.name == SYNTHETIC):
            what = "drawn" if dataset.synthetic else "real"
            raise DataSetError(
                f"{dataset.root}: holds {what} portraits, which are not {self.name}; "
                "`p3m records` chooses the right builder."
            )
        return [(e.stem, {role: getattr(e, role) for role in ROLES}) for e in dataset.examples]


def subfolder(folder: Path, name: str) -> Path:
    """Returns the folder `name` inside `folder` if it exists, else `folder` itself."""
    return folder / name if (folder / name).is_dir() else folder


class LayoutBuilder(EncodedBuilder, skip_registration=True):  # type: ignore[call-arg] # as above
    """A builder for a folder in P3M-10k's layout: its training set and its test sets.

    The builder has two configurations, "blurred" and "normal", named after the faces in their
    records. P3M-500-NP is an exception: it has normal faces in both configurations, because it was
    published with normal faces.
    """

    BUILDER_CONFIGS = FACES_CONFIGS
    DEFAULT_BUILDER_CONFIG_NAME = "blurred"
    FOLDER_NAME = ""

    def splits_of(self, folder: Path) -> dict[str, list[tuple[str, dict]]]:
        """Returns the files of the split "train", and of one split for each test set.

        A test set without pictures for the builder's configuration ("blurred" or "normal") is left
        out.
        """
        root, faces = subfolder(folder, self.FOLDER_NAME), self.builder_config.name
        sets = {"train": training_set(root, faces=faces)}
        names = validation_sets(root, faces)
        sets |= {name: find_test_set(root, name, faces=faces) for name in names}
        return {name: self.portraits(dataset) for name, dataset in sets.items()}
