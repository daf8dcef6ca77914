"""Makes the sheet of the four PPT protocols: the pictures in which two networks differ most."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from p3m_jax.data.sets import Example
from p3m_jax.evaluation.evaluator import Observe, Row
from p3m_jax.evaluation.ppt import PPT_PROTOCOLS, Pictures
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.inference.resizing import Protocol
from p3m_jax.pictures.labels import read_matte
from p3m_jax.text import shown

COMPARED = ("B:N", "N:N")  # their difference ranks the pictures: two networks, normal faces


class Predictions:
    """Keeps the predictions of all PPT protocols in memory, as PNG, for the sheet.

    A real matte of 1080 x 1620 pixels takes 30 to 100 KB. So with four protocols, the predictions
    of 500 pictures take about 100 MB.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._files: dict[tuple[str, str], np.ndarray] = {}

    def observe(self, name: str) -> Observe:
        """Returns an `observe` argument for `evaluate_examples` that keeps all predictions.

        `name` is the PPT protocol that is evaluated, such as "B:N".
        """

        def keep(example: Example, prediction: np.ndarray, row: Row) -> None:
            if prediction.dtype != np.uint8:
                prediction = self._protocol.saved(prediction)
            self._files[name, example.stem] = cv2.imencode(".png", prediction)[1]

        return keep

    def get(self, name: str, stem: str) -> np.ndarray:
        """Returns a prediction, (H, W) in [0, 1], as the 8-bit matte that is saved to a file.

        `name` is the PPT protocol, such as "B:N"; `stem` identifies the picture.
        """
        stored = cv2.imdecode(self._files[name, stem], cv2.IMREAD_GRAYSCALE)
        assert stored is not None  # encoded by `observe`
        return stored / np.float32(255)


def differences_sheet(
    rows: Mapping[str, Sequence[Row]],
    tested: Mapping[str, Pictures],
    predictions: Predictions,
    count: int,
) -> np.ndarray:
    """Makes a sheet, uint8 (H, W, 3), of the `count` pictures whose SAD differs most.

    The difference is between the two protocols in `COMPARED`. Each picture has four rows, one for
    each of `PPT_PROTOCOLS`. A row shows the picture as the network saw it.

    Args:
      rows: the result of `evaluate_protocols`.
      tested: the test pictures that were passed to `evaluate_protocols`.
      predictions: the mattes of all protocols.
      count: the number of pictures.
    """
    one, other = (rows[name] for name in COMPARED)
    gaps = [-abs(float(a["SAD"]) - float(b["SAD"])) for a, b in zip(one, other, strict=True)]
    panels = []
    for number, index in enumerate(np.argsort(gaps, kind="stable")[:count], 1):
        for name in PPT_PROTOCOLS:
            dataset, read = tested[name.split(":")[1]]
            example = dataset.examples[index]
            matte = read_matte(example.matte) / np.float32(255)
            sad = rows[name][index]["SAD"]
            caption = shown(f"{number}. {example.stem}   {name}   SAD {sad:.2f}")
            panels.append((read(example), matte, predictions.get(name, example.stem), caption))
    return make_sheet(panels)
