"""The data set of a run: the user's, checked and completed, or synthetic portraits."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from p3m_jax.data.check import check
from p3m_jax.data.layouts import (
    DataSet,
    DataSetError,
    scan_training,
    split_validation,
    training_set,
)
from p3m_jax.data.synthetic import write_synthetic_set
from p3m_jax.files import write_text

SYNTHETIC_FOLDER = "synthetic_portraits"

SYNTHETIC_NOTICE = """\
================================ SYNTHETIC DATA ================================
{why}: cartoon portraits, drawn by this program.
The network trained on them shows that everything works. It is NOT a portrait
matting model. Name P3M-10k with --config.data.directory=... to train one.
================================================================================"""


class TrainingData(NamedTuple):
    """What a run trains on and selects by.

    Attributes:
      root: P3M-10k's folder, or that of the synthetic portraits.
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
    that is named.

    Raises:
      DataSetError: what was named is wrong or incomplete. There is no fallback.
    """
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
    cache = config.data.foreground_cache or None
    scan = scan_training(root, foreground_cache=cache)
    if scan.synthetic:
        named = config.data.directory and f"{root} holds"
        notice = SYNTHETIC_NOTICE.format(why=named or "No data set was named, so this run takes")
        print(notice)
        write_text(workdir / "SYNTHETIC", notice + "\n")
    report = check(scan)
    print(report.text)
    if report.errors:
        raise DataSetError(
            f"{root}: the data set has {len(report.errors)} kinds of errors, listed above; "
            "mend them before training on it."
        )
    dataset = scan.dataset()
    if config.loss.composition:
        dataset = _with_foregrounds(dataset, root, cache)
    train, validation = split_validation(dataset, config.data.validation_pictures)
    return TrainingData(root, train, validation)


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
