"""The data set of a run: the user's, checked and completed, or synthetic portraits."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.data.check import check
from p3m_jax.data.folders import list_folder
from p3m_jax.data.layouts import (
    CACHE_FOLDERS,
    DataSet,
    DataSetError,
    Example,
    Scan,
    scan_pair,
    scan_training,
    split_validation,
)
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.private_areas import read_obfuscated, with_private_areas
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.runtime import distributed
from p3m_jax.storage.files import write_text
from p3m_jax.text import say, shown, warn
from p3m_jax.training.copy_paste_settings import find_copy_paste

SYNTHETIC_FOLDER = "synthetic_portraits"
FOREGROUND_FOLDER = "foregrounds"
PRIVATE_FOLDER = "private_areas"

SYNTHETIC_NOTICE = """\
================================ SYNTHETIC DATA ================================
{why}: cartoon portraits, drawn by this program.
The network trained on them shows that everything works. It is NOT a portrait
matting model. Name P3M-10k with --config.data.directory=... to train one.
================================================================================"""


class TrainingData(NamedTuple):
    """What a run trains on and selects by.

    Attributes:
      root: P3M-10k's folder, that of one's own pictures, or that of the synthetic portraits.
      train, validation: the training set, and what of it is held out.
      obfuscation: of the faces, before anything else sees them; None: they are as in the files.
      copy_paste: faces to paste onto those of `train`, and how.
    """

    root: Path
    train: DataSet
    validation: DataSet
    obfuscation: Obfuscation | None = None
    copy_paste: CopyPaste | None = None

    @property
    def synthetic(self) -> bool:
        """True for portraits drawn by this project."""
        return self.train.synthetic

    @property
    def read(self) -> Callable[[Example], np.ndarray]:
        """Gives the picture of an example as this run may see it, uint8 (H, W, 3)."""
        return functools.partial(read_obfuscated, obfuscation=self.obfuscation)


def find_obfuscation(config: ConfigDict) -> Obfuscation | None:
    """What `config.data.obfuscation` asks for; `ObfuscationError` if it cannot be."""
    if config.data.obfuscation == "none":
        return None
    return Obfuscation(config.data.obfuscation, config.data.obfuscation_strength).check()


def describe_faces(config: ConfigDict) -> dict[str, str]:
    """What a checkpoint tells about the faces that it was trained on; {} of what is published."""
    obfuscation = find_obfuscation(config)
    if obfuscation is not None:
        below = {"below_safe_strength": True} if obfuscation.below_safe_strength else {}
        return {"faces": f"obfuscated: {obfuscation}", **below}
    return {} if config.data.faces == "blurred" else {"faces": config.data.faces}


def prepare_data(config: ConfigDict, workdir: Path) -> TrainingData:
    """Finds, checks and if need be completes the data set; draws a synthetic one without any.

    Missing foregrounds and backgrounds are estimated into `config.data.foreground_cache` where
    that is named; those of one's own pictures into the run's folder otherwise. Where faces are to
    be obfuscated, their private areas are found first, and foregrounds estimated of what is left.

    Raises:
      DataSetError: what was named is wrong or incomplete. There is no fallback.
    """
    scan = _scan(config, workdir)
    root = scan.root
    if scan.synthetic:
        named = config.data.directory or config.data.pictures
        why = f"{shown(root)} holds" if named else "No data set was named, so this run takes"
        notice = SYNTHETIC_NOTICE.format(why=why)
        say(notice)
        write_text(workdir / "SYNTHETIC", notice + "\n")
    report = check(scan, training=True)
    say(report.text)
    if report.errors:
        raise DataSetError(
            f"{root}: the data set has {len(report.errors)} kinds of errors, listed above; "
            "mend them before training on it."
        )
    dataset, obfuscation = scan.dataset(), find_obfuscation(config)
    if obfuscation is not None:
        if obfuscation.warning and distributed.is_first():
            warn(obfuscation.warning)
        dataset = with_private_areas(
            dataset,
            config.data.private_cache or workdir / PRIVATE_FOLDER,
            leave_out=config.data.doubtful == "leave_out",
        )
    if config.loss.composition:
        cache = config.data.foreground_cache
        if config.data.pictures:
            cache = cache or workdir / FOREGROUND_FOLDER
        dataset = _with_foregrounds(dataset, cache or None, obfuscation)
    train, validation = split_validation(dataset, config.data.validation_pictures)
    copy_paste = find_copy_paste(config, workdir, train, root, obfuscated=obfuscation is not None)
    return TrainingData(root, train, validation, obfuscation, copy_paste)


def _scan(config: ConfigDict, workdir: Path) -> Scan:
    masks = config.data.facemasks or None
    if config.data.pictures:
        return scan_pair(config.data.pictures, config.data.mattes, facemasks=masks)
    root = Path(config.data.directory or workdir / SYNTHETIC_FOLDER).expanduser()
    if not config.data.directory:
        size = (config.data.synthetic.height, config.data.synthetic.width)
        write_synthetic_set(
            root,
            train=config.data.synthetic.train,
            test=config.data.synthetic.test,
            faces=config.data.synthetic.faces,
            size=size,
            seed=config.seed,
        )
    return scan_training(
        root,
        faces=config.data.faces,
        foreground_cache=config.data.foreground_cache or None,
        facemasks=masks,
    )


def _with_foregrounds(dataset: DataSet, cache, obfuscation: Obfuscation | None) -> DataSet:
    """The data set with the foregrounds and backgrounds that it lacks, from or into a cache."""
    missing = sum(e.foreground is None or e.background is None for e in dataset.examples)
    if cache is None:
        if missing:
            raise DataSetError(
                f"{dataset.root}: {missing} of {len(dataset.examples)} pictures have no foreground "
                "or no background, which the composition loss needs; name a folder to estimate "
                "them into with --config.data.foreground_cache=..., or leave the loss out with "
                "--config.loss.composition=False."
            )
        return dataset
    from p3m_jax.derived.foregrounds import estimate_missing

    # Also where nothing is missing: it notices a cache that was made from other pictures.
    estimate_missing(dataset, cache, obfuscation=obfuscation)
    folders = {role: Path(cache).expanduser() / name for role, name in CACHE_FOLDERS.items()}
    files = {role: list_folder(path).files for role, path in folders.items() if path.is_dir()}

    def completed(example: Example) -> Example:
        if example.foreground and example.background:
            return example
        return replace(example, **{role: files[role][example.stem] for role in CACHE_FOLDERS})

    return replace(dataset, examples=tuple(map(completed, dataset.examples)))
