"""Evaluates the four protocols of privacy-preserving training (PPT).

One network was trained on pictures with blurred faces (B), another on normal ones (N). Both matte
the same people twice, with blurred and with normal faces. A protocol is TRAINED:TESTED, such as
"B:N" (Li et al., "Privacy-Preserving Portrait Matting", 2021).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.data.sets import DataSet, Example
from p3m_jax.evaluation.checks import EvaluationError
from p3m_jax.evaluation.evaluator import (
    Observe,
    Read,
    Row,
    evaluate_examples,
    read_as_is,
)
from p3m_jax.faces.areas import find_private_areas
from p3m_jax.faces.finding import FaceFinder, Find
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.inference.resizing import Protocol
from p3m_jax.inference.strategies import Predict
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_face_mask, read_matte

BLURRED, NORMAL = "B", "N"
PPT_PROTOCOLS = ("B:B", "B:N", "N:B", "N:N")  # trained:tested


class Pictures(NamedTuple):
    """The pictures that networks are tested on: a data set, and a function that reads them."""

    dataset: DataSet
    read: Read = read_as_is


class Obfuscating(NamedTuple):
    """Reads pictures with normal faces, and obfuscates the faces in memory.

    It is a `read` argument for `evaluate_examples`: called with an example, it returns the
    example's picture.

    Attributes:
      obfuscation: how the faces are obfuscated.
      private: {stem: label map of the areas to obfuscate}. The maps, uint8 (H, W), are stored as
        encoded PNG files to save memory. The value is None if a picture has no such areas.
    """

    obfuscation: Obfuscation
    private: dict[str, np.ndarray | None]

    def __call__(self, example: Example) -> np.ndarray:
        """Returns the obfuscated picture of an example, uint8 (H, W, 3)."""
        picture, stored = read_picture(example.picture), self.private[example.stem]
        if stored is None:
            return picture
        labels = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
        assert labels is not None  # encoded by `obfuscating`
        return obfuscate(picture, labels, self.obfuscation)


def obfuscating(
    dataset: DataSet, obfuscation: Obfuscation, *, workers: int = 2, finder: Find | None = None
) -> Obfuscating:
    """Finds the face areas of a data set's pictures; returns a function that obfuscates them.

    The function reads one example's picture, see `Obfuscating`.

    Args:
      dataset: its pictures must show normal faces; all files must have the size of their mattes.
      obfuscation: how the faces are obfuscated. The transition areas of the mattes are not
        obfuscated.
      workers: the number of threads.
      finder: finds the faces in those pictures that have no face mask; a `FaceFinder` if None.

    Raises:
      EvaluationError: a picture without a face mask needs review (see `PrivateAreas.doubts`), or
        no picture has a face area.
      FaceWeightsError: faces must be searched for, but the weights are not installed.
    """
    from tqdm import tqdm

    if finder is None and any(example.facemask is None for example in dataset.examples):
        finder = FaceFinder()

    def look(example: Example) -> tuple[np.ndarray | None, tuple[str, ...]]:
        picture, matte = read_picture(example.picture), read_matte(example.matte)
        mask, search = None, finder
        if example.facemask is not None:  # trusted without a search: no picture is written to disk
            mask = read_face_mask(example.facemask, several_channels=example.published)
            search = None
        areas = find_private_areas(picture, matte=matte, mask=mask, finder=search)
        stored = cv2.imencode(".png", areas.private)[1] if areas.private.any() else None
        return stored, areas.doubts if mask is None else ()

    with ThreadPoolExecutor(max(1, workers)) as pool:
        bar = {"desc": "Looking for faces", "unit": "picture", "total": len(dataset.examples)}
        looks = list(tqdm(pool.map(look, dataset.examples), **bar))
    stems = [example.stem for example in dataset.examples]
    doubtful = [
        f"{stem}: {', '.join(doubts)}"
        for stem, (_, doubts) in zip(stems, looks, strict=True)
        if doubts
    ]
    if doubtful:
        sentence = (
            f"{dataset.root}: {len(doubtful)} of {len(stems)} pictures cannot be obfuscated "
            "reliably; provide face masks for them with --facemasks (an all-black mask means that "
            "the picture has no face):"
        )
        raise EvaluationError(sentence, *(f"  {doubt}" for doubt in doubtful))
    private = {stem: stored for stem, (stored, _) in zip(stems, looks, strict=True)}
    if all(stored is None for stored in private.values()):
        raise EvaluationError(
            f"{dataset.root}: no face mask shows a face, so blurred and normal pictures would be "
            "the same; choose other pictures or face masks."
        )
    return Obfuscating(obfuscation, private)


def evaluate_protocols(
    networks: Mapping[str, tuple[str, Predict]],
    tested: Mapping[str, Pictures],
    *,
    strategy: str,
    protocol: Protocol,
    workers: int = 2,
    progress: bool = True,
    observe: Callable[[str], Observe | None] = lambda name: None,
) -> dict[str, list[Row]]:
    """Evaluates each of `PPT_PROTOCOLS`; returns {PPT protocol: rows of `evaluate_examples`}.

    Args:
      networks: {`BLURRED`: (name, predict), `NORMAL`: (name, predict)}: the networks trained on
        blurred and on normal faces. `name` is the network's name, such as "swin"; `predict` runs
        the network.
      tested: {`BLURRED`: pictures, `NORMAL`: pictures}: the test pictures with blurred and with
        normal faces. Call `check_files` for both data sets first.
      strategy, protocol, workers, progress: as for `evaluate_examples`.
      observe: accepts the name of a PPT protocol, such as "B:N"; returns the `observe` argument
        of `evaluate_examples` for this protocol.
    """
    rows = {}
    for name in PPT_PROTOCOLS:
        trained, faces = name.split(":")
        model_name, predict = networks[trained]
        rows[name] = evaluate_examples(
            predict,
            tested[faces].dataset,
            strategy=strategy,
            protocol=protocol,
            model_name=model_name,
            workers=workers,
            progress=progress,
            observe=observe(name),
            checked=True,
            read=tested[faces].read,
            title=f"{name} {strategy}",
        )
    return rows
