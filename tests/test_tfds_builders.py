"""The TFDS builders by TFDS's own test cases, on tiny sets in every layout."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")
import tensorflow_datasets as tfds

from p3m_jax.data.celebamask import MASKS, PICTURES
from p3m_jax.data.celebamask_hq import celebamask_hq_dataset_builder as celebamask_hq
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import SYNTHETIC_MARK
from p3m_jax.data.p3m10k import p3m10k_dataset_builder as p3m10k
from p3m_jax.data.p3m_synthetic import p3m_synthetic_dataset_builder as p3m_synthetic
from p3m_jax.data.portrait_folder import portrait_folder_dataset_builder as portrait_folder
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.pictures.images import write_image


def drawn(root: Path) -> None:
    options = {"train": 3, "test": 2, "faces": 0, "size": (48, 40)}
    write_synthetic_set(root, **options, progress=False)


def of_2024(root: Path) -> None:
    drawn(root / "P3M-10k")
    (root / "P3M-10k" / SYNTHETIC_MARK).unlink()


def older(root: Path) -> None:
    drawn(root)
    (root / SYNTHETIC_MARK).unlink()
    for name in ("fg_blurred", "bg", "facemask", "original_image", "fg"):
        shutil.rmtree(root / "train" / name)


def pair(root: Path) -> None:
    drawn(root / "set")
    (root / "set/train/blurred_image").rename(root / "pictures")
    (root / "set/train/mask").rename(root / "mattes")
    shutil.rmtree(root / "set")


def celeba(root: Path) -> None:
    for number in range(3):
        values = np.full((16, 16, 3), 50 * number, np.uint8)
        write_image(root / PICTURES / f"{number}.jpg", values)
        for part in ("skin", "nose")[: number + 1]:
            write_image(root / MASKS / "0" / f"{number:05d}_{part}.png", values[:8, :8, 0])


class Generated(tfds.testing.DatasetBuilderTestCase):
    """Tests a builder on what `WRITE` writes into a new folder."""

    DATASET_CLASS = p3m10k.Builder  # any: this class itself is no test

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        cls.WRITE(Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    def test_what_is_written_about_it(self):
        info = self.builder.info
        self.assertNotEmpty(info.description)
        self.assertNotEmpty(self.builder.MANUAL_DOWNLOAD_INSTRUCTIONS)
        self.assertNotEmpty(info.redistribution_info.license)


class P3M10kOf2024Test(Generated):
    DATASET_CLASS = p3m10k.Builder
    SPLITS = {"train": 3, "P3M-500-P": 2, "P3M-500-NP": 2}  # noqa: RUF012
    WRITE = staticmethod(of_2024)


class P3M10kOlderTest(Generated):
    DATASET_CLASS = p3m10k.Builder
    SPLITS = {"train": 3, "P3M-500-P": 2, "P3M-500-NP": 2}  # noqa: RUF012
    BUILDER_CONFIG_NAMES_TO_TEST = ["blurred"]  # noqa: RUF012
    WRITE = staticmethod(older)


class P3MSyntheticTest(Generated):
    DATASET_CLASS = p3m_synthetic.Builder
    SPLITS = {"train": 3, "P3M-500-P": 2, "P3M-500-NP": 2}  # noqa: RUF012
    WRITE = staticmethod(drawn)


class PortraitFolderTest(Generated):
    DATASET_CLASS = portrait_folder.Builder
    SPLITS = {"train": 3}  # noqa: RUF012
    WRITE = staticmethod(pair)


class CelebAMaskHQTest(Generated):
    DATASET_CLASS = celebamask_hq.Builder
    SPLITS = {"train": 3}  # noqa: RUF012
    WRITE = staticmethod(celeba)


del Generated


def test_drawn_portraits_are_not_written_as_real_ones(tmp_path):
    drawn(tmp_path / "set")
    builder = p3m10k.Builder(data_dir=str(tmp_path / "records"))
    with pytest.raises(DataSetError, match="holds drawn portraits, which are not p3m10k"):
        builder.splits_of(tmp_path / "set")
    (tmp_path / "set" / SYNTHETIC_MARK).unlink()
    builder = p3m_synthetic.Builder(data_dir=str(tmp_path / "records"))
    with pytest.raises(DataSetError, match="holds real portraits, which are not p3m_synthetic"):
        builder.splits_of(tmp_path / "set")


def test_names_of_configurations():
    assert portrait_folder.config_name(Path("/a/my photos.2024")) == "my_photos_2024"
    assert portrait_folder.config_name(Path("/a/фото")) == "own"
