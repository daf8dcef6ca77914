"""The four protocols of privacy-preserving training (PPT): what is matted and scored.

Two networks, one trained on pictures with blurred faces (B), one on normal ones (N), matte the same
people twice, with blurred and with normal faces. A protocol is TRAINED:TESTED, such as "B:N" (Li et
al., "Privacy-Preserving Portrait Matting", 2021).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.data.layouts import DataSet, Example
from p3m_jax.evaluation.evaluator import (
    EvaluationError,
    Observe,
    Read,
    Row,
    evaluate_examples,
    read_as_is,
)
from p3m_jax.faces.areas import find_private_areas
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.inference.resizing import Protocol
from p3m_jax.inference.strategies import Predict
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_face_mask, read_matte

BLURRED, NORMAL = "B", "N"
PROTOCOLS = ("B:B", "B:N", "N:B", "N:N")  # trained:tested


class Pictures(NamedTuple):
    """What networks are tested on: a data set, and how its pictures are read."""

    dataset: DataSet
    read: Read = read_as_is


class Obfuscating(NamedTuple):
    """A `Read` of pictures with normal faces that obfuscates these in memory.

    Attributes:
      obfuscation: what is done to the faces.
      private: by stem the label map uint8 (H, W) of what is private, as PNG (a few KB a picture);
        None where nothing is.
    """

    obfuscation: Obfuscation
    private: dict[str, np.ndarray | None]

    def __call__(self, example: Example) -> np.ndarray:
        """The obfuscated picture of an example, uint8 (H, W, 3)."""
        picture, stored = read_picture(example.picture), self.private[example.stem]
        if stored is None:
            return picture
        return obfuscate(picture, cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), self.obfuscation)


def obfuscating(
    dataset: DataSet, obfuscation: Obfuscation, *, workers: int = 2, finder=None
) -> Obfuscating:
    """Looks once for what is private in a set's pictures, in order to obfuscate them when read.

    Args:
      dataset: its pictures show normal faces; all files have their mattes' sizes.
      obfuscation: what is done to the faces, but for the mattes' transition areas.
      workers: threads.
      finder: finds faces, where there are no face masks, as `FaceFinder`, the default, does.

    Raises:
      EvaluationError: something is doubtful about pictures without a face mask, or no picture
        shows anything private.
      FaceWeightsError: faces must be searched for, and the weights are not installed.
    """
    from tqdm import tqdm

    if finder is None and any(example.facemask is None for example in dataset.examples):
        finder = FaceFinder()

    def look(example):
        picture, matte = read_picture(example.picture), read_matte(example.matte)
        mask, search = None, finder
        if example.facemask is not None:  # which is believed: nothing leaves the memory
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
            f"{dataset.root}: {len(doubtful)} of {len(stems)} pictures cannot be obfuscated for "
            "sure; name a folder with face masks for them with --facemasks (an all-black mask says "
            "that no face is there):"
        )
        raise EvaluationError(sentence, *(f"  {doubt}" for doubt in doubtful))
    private = {stem: stored for stem, (stored, _) in zip(stems, looks, strict=True)}
    if all(stored is None for stored in private.values()):
        raise EvaluationError(
            f"{dataset.root}: no face mask shows a face, so blurred and normal pictures would be "
            "the same; name other pictures or face masks."
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
    """The rows of each of `PROTOCOLS`, as `evaluate_examples` gives them.

    Args:
      networks: name ("swin") and maps of the networks trained on `BLURRED` and on `NORMAL`.
      tested: the pictures with `BLURRED` and with `NORMAL` faces; their sizes were checked.
      strategy, protocol, workers, progress: as there.
      observe: gives for a protocol of `PROTOCOLS` what observes its pictures.
    """
    rows = {}
    for name in PROTOCOLS:
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
