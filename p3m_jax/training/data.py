"""The data set of a run: the user's, checked and completed, or synthetic portraits."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from p3m_jax.data.check import check
from p3m_jax.data.folders import list_folder
from p3m_jax.data.layouts import (
    CACHE_FOLDERS,
    DataSet,
    DataSetError,
    Scan,
    scan_pair,
    scan_training,
    split_validation,
    training_set,
)
from p3m_jax.data.synthetic import write_synthetic_set
from p3m_jax.files import write_text

SYNTHETIC_FOLDER = "synthetic_portraits"
FOREGROUND_FOLDER = "foregrounds"

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
    """

    root: Path
    train: DataSet
    validation: DataSet

    @property
    def synthetic(self) -> bool:
        """True for portraits drawn by this project."""
        return self.train.synthetic


def prepare_data(config: ConfigDict, workdir: Path) -> TrainingData:
    """Finds, checks and if need be completes the data set; draws a synthetic one without any.

    Missing foregrounds and backgrounds are estimated into `config.data.foreground_cache` where
    that is named; those of one's own pictures into the run's folder otherwise.

    Raises:
      DataSetError: what was named is wrong or incomplete. There is no fallback.
    """
    scan = _scan(config, workdir)
    root = scan.root
    if scan.synthetic:
        named = config.data.directory or config.data.pictures
        why = f"{root} holds" if named else "No data set was named, so this run takes"
        notice = SYNTHETIC_NOTICE.format(why=why)
        print(notice)
        write_text(workdir / "SYNTHETIC", notice + "\n")
    report = check(scan, training=True)
    print(report.text)
    if report.errors:
        raise DataSetError(
            f"{root}: the data set has {len(report.errors)} kinds of errors, listed above; "
            "mend them before training on it."
        )
    dataset = scan.dataset()
    if config.loss.composition:
        cache = config.data.foreground_cache
        if config.data.pictures:
            dataset = _with_estimates(dataset, Path(cache or workdir / FOREGROUND_FOLDER))
        else:
            dataset = _with_foregrounds(dataset, root, cache or None)
    train, validation = split_validation(dataset, config.data.validation_pictures)
    return TrainingData(root, train, validation)


def _scan(config: ConfigDict, workdir: Path) -> Scan:
    if config.data.pictures:
        return scan_pair(config.data.pictures, config.data.mattes)
    root = Path(config.data.directory or workdir / SYNTHETIC_FOLDER).expanduser()
    if not config.data.directory:
        size = (config.data.synthetic.height, config.data.synthetic.width)
        write_synthetic_set(
            root,
            train=config.data.synthetic.train,
            test=config.data.synthetic.test,
            size=size,
            seed=config.seed,
        )
    return scan_training(root, foreground_cache=config.data.foreground_cache or None)


def _with_estimates(dataset: DataSet, cache: Path) -> DataSet:
    """One's own pictures with their foregrounds and backgrounds, all of them estimated."""
    from p3m_jax.input.foreground import estimate_missing

    estimate_missing(dataset, cache)
    files = {role: list_folder(cache / name)[0] for role, name in CACHE_FOLDERS.items()}
    examples = tuple(
        replace(example, **{role: files[role][example.stem] for role in files})
        for example in dataset.examples
    )
    return replace(dataset, examples=examples)


def _with_foregrounds(dataset: DataSet, root: Path, cache: str | None) -> DataSet:
    missing = sum(e.foreground is None or e.background is None for e in dataset.examples)
    if cache is None:
        if missing:
            raise DataSetError(
                f"{root}: {missing} of {len(dataset.examples)} pictures have no foreground or no "
                "background, which the composition loss needs; name a folder to estimate them "
                "into with --config.data.foreground_cache=..., or leave the loss out with "
                "--config.loss.composition=False."
            )
        return dataset
    from p3m_jax.input.foreground import estimate_missing

    # Also where nothing is missing: it notices a cache that was made from other pictures.
    estimate_missing(dataset, cache)
    return training_set(root, foreground_cache=cache)
