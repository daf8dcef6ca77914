"""Prepares the data set of a run: the user's data set, or synthetic portraits if none is chosen."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.data.check import check
from p3m_jax.data.folders import DataSetError, list_folder
from p3m_jax.data.layouts import CACHE_FOLDERS, scan_pair, scan_training
from p3m_jax.data.sets import DataSet, Example, Scan, split_validation
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.private_areas import read_obfuscated, with_private_areas
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.runtime import distributed
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import write_text
from p3m_jax.storage.paths import user_path
from p3m_jax.text import counted, say, shown, warn
from p3m_jax.training.faces_to_copy import find_copy_paste
from p3m_jax.training.settings import CopyPasteSettings, DataSettings

SYNTHETIC_FOLDER = "synthetic_portraits"
FOREGROUND_FOLDER = "foregrounds"
PRIVATE_FOLDER = "private_areas"

SYNTHETIC_NOTICE = """\
================================ SYNTHETIC DATA ================================
{why} cartoon portraits drawn by this program.
A network trained on them only shows that everything works. It is NOT a
portrait matting model. To train one, use P3M-10k with
--config.data.directory=...
================================================================================"""


class TrainingData(NamedTuple):
    """The training and validation pictures of a run, and how they are changed while training.

    Attributes:
      root: the folder of P3M-10k, of the user's own pictures, or of the synthetic portraits.
      train: the data set without the held-out pictures.
      validation: the held-out pictures.
      obfuscation: how faces are obfuscated whenever a picture is read; None for no obfuscation.
      copy_paste: the faces to paste over those in `train`, and how to paste them; None for no
        copy and paste.
    """

    root: Path
    train: DataSet
    validation: DataSet
    obfuscation: Obfuscation | None = None
    copy_paste: CopyPaste | None = None

    @property
    def synthetic(self) -> bool:
        """True if the pictures are synthetic portraits drawn by this project."""
        return self.train.synthetic

    @property
    def read(self) -> Callable[[Example], np.ndarray]:
        """A function that reads an example's picture, uint8 (H, W, 3), obfuscated if required."""
        return functools.partial(read_obfuscated, obfuscation=self.obfuscation)


def prepare_data(
    wanted: DataSettings, workdir: Path, copy_paste: CopyPasteSettings | None = None
) -> TrainingData:
    """Finds the data set of a run, checks it, and adds missing files.

    If the settings choose no data set, synthetic portraits are drawn. If the settings obfuscate
    faces, the face areas in all pictures are found and cached, or reused from the cache.

    If the composition loss is on, every picture needs a foreground and a background. Missing
    foregrounds and backgrounds are estimated, from the obfuscated pictures if faces are obfuscated,
    and stored in the folder `wanted.foreground_cache`. If this setting is None, the estimates for
    the user's own pictures are stored in `workdir`, but other data sets must already be complete.

    Args:
      wanted: the settings of the data set.
      workdir: the run's folder.
      copy_paste: the settings of copy and paste; None if it is off.

    Raises:
      DataSetError: the chosen data set is wrong or incomplete. The run does not fall back to
        synthetic portraits.
    """
    scan = _scan(wanted, workdir)
    root = scan.root
    if scan.synthetic:
        named = wanted.directory or wanted.pictures
        why = f"{shown(root)} contains" if named else "No data set was named, so this run uses"
        notice = SYNTHETIC_NOTICE.format(why=why)
        say(notice)
        write_text(workdir / "SYNTHETIC", notice + "\n")
    report = check(scan, training=True)
    say(report.text)
    if report.errors:
        raise DataSetError(
            f"{root}: the data set has {counted(len(report.errors), 'kind')} of errors, listed "
            "above. Fix them before training on it."
        )
    dataset, obfuscation = scan.dataset(), wanted.obfuscation
    if obfuscation is not None:
        if obfuscation.warning and distributed.is_first():
            warn(obfuscation.warning)
        dataset = with_private_areas(
            dataset,
            wanted.private_cache or workdir / PRIVATE_FOLDER,
            leave_out=wanted.leave_out_doubtful,
        )
    if wanted.composition:
        cache: StrPath | None = wanted.foreground_cache
        if wanted.pictures:
            cache = cache or workdir / FOREGROUND_FOLDER
        dataset = _with_foregrounds(dataset, cache, obfuscation)
    train, validation = split_validation(dataset, wanted.validation_pictures)
    faces = None
    if copy_paste is not None:
        faces = find_copy_paste(
            copy_paste, workdir, train, root, obfuscated=obfuscation is not None
        )
    return TrainingData(root, train, validation, obfuscation, faces)


def _scan(wanted: DataSettings, workdir: Path) -> Scan:
    if wanted.pictures:
        assert wanted.mattes is not None  # the settings have both or neither
        return scan_pair(wanted.pictures, wanted.mattes, facemasks=wanted.facemasks)
    root = user_path(wanted.directory or workdir / SYNTHETIC_FOLDER)
    if not wanted.directory:
        drawn = wanted.synthetic
        write_synthetic_set(
            root,
            train=drawn.train,
            test=drawn.test,
            faces=drawn.faces,
            size=(drawn.height, drawn.width),
            seed=drawn.seed,
        )
    return scan_training(
        root,
        faces=wanted.faces,
        foreground_cache=wanted.foreground_cache,
        facemasks=wanted.facemasks,
    )


def _with_foregrounds(
    dataset: DataSet, cache: StrPath | None, obfuscation: Obfuscation | None
) -> DataSet:
    """Returns the data set with missing foregrounds and backgrounds added from the cache.

    If the cache does not have them either, they are estimated first. Without a cache, the data set
    must be complete.
    """
    missing = sum(e.foreground is None or e.background is None for e in dataset.examples)
    if cache is None:
        if missing:
            raise DataSetError(
                f"{dataset.root}: {missing} of {len(dataset.examples)} pictures have no foreground "
                "or no background, which the composition loss needs. Choose a folder for estimates "
                "with --config.data.foreground_cache=..., or turn the loss off with "
                "--config.loss.composition=False."
            )
        return dataset
    from p3m_jax.derived.foregrounds import estimate_missing

    # Called even if nothing is missing: it detects a cache that was made from other pictures.
    estimate_missing(dataset, cache, obfuscation=obfuscation)
    folders = {role: user_path(cache) / name for role, name in CACHE_FOLDERS.items()}
    files = {role: list_folder(path).files for role, path in folders.items() if path.is_dir()}

    def completed(example: Example) -> Example:
        if example.foreground and example.background:
            return example
        stem = example.stem
        foreground, background = files["foreground"][stem], files["background"][stem]
        return replace(example, foreground=foreground, background=background)

    return replace(dataset, examples=tuple(map(completed, dataset.examples)))
