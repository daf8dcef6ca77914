"""Finds faces with YuNet at several scales and directions, and joins the findings."""

import hashlib
import threading
from collections.abc import Iterable

import cv2
import numpy as np

from p3m_jax.faces.detector import OVERLAP, Face, quiet_opencv, scaled, union
from p3m_jax.faces.views import (
    ENLARGED,
    SCALES,
    View,
    contrast_at,
    eighth_turned_sizes,
    quarter_turned_sizes,
    shrunk,
    turned_views,
    upright_sizes,
    upright_views,
    with_contrast,
)
from p3m_jax.faces.weights import find_weights

_FAINT_SCALE = 640  # long side in pixels at which faint faces are searched for
# Standard deviation in grey levels of 255. A face with more contrast is found without raising it.
_FAINT = 8.0


class YuNet:
    """A `Detector` that uses the network YuNet. Threads may share this object.

    Call it with a picture, RGB uint8 (H, W, 3); it returns a list of `Face`s. It adds a reflected
    border to the picture, so that faces cut off by the picture's edge are found, too.

    Args:
      threshold: lowest score at which an upright face is accepted.
      turned: lowest score at which a turned face is accepted. Turned faces are found in copies
        of the picture rotated by 45, 90, ... 315 degrees. Without rotation, the network misses
        faces turned by more than about 45 degrees, and small faces turned by more than 20 degrees.
        If `turned` is None, the rotated copies are not searched.
      faint: lowest score at which a face with very little contrast is accepted. Such faces are
        found in a copy of the picture with more contrast, at one scale. If `faint` is None, this
        copy is not searched.

    Raises:
      FaceWeightsError: the weights are not installed.
    """

    def __init__(
        self,
        threshold: float = 0.6,
        *,
        turned: float | None = 0.8,
        faint: float | None = 0.8,
    ) -> None:
        self._file = str(find_weights("yunet"))
        self._threshold, self._turned, self._faint = threshold, turned, faint
        self._local = threading.local()  # one network per thread, as it stores its input's size

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Returns the faces of a picture, those with the highest score first."""
        self._remember()
        return union([*self._upright_faces(picture), *self._turned_faces(picture)])

    def upright(self, picture: np.ndarray) -> list[Face]:
        """Returns only the upright faces of a picture RGB uint8 (H, W, 3).

        This skips the search for turned faces, which takes twice as long as that for upright ones.
        """
        self._remember()
        return union(self._upright_faces(picture))

    def _remember(self) -> None:
        self._local.earlier, self._local.seen = getattr(self._local, "seen", {}), {}

    def _upright_faces(self, picture: np.ndarray) -> list[Face]:
        long_side, found = max(picture.shape[:2]), []
        for small, ratio in shrunk(picture, upright_sizes(long_side)):
            faces = self._search(upright_views(small), self._threshold)
            found += [scaled(face, ratio) for face in faces]
        if long_side > max(SCALES):
            found += self._search(upright_views(picture, ENLARGED), self._threshold)
        if self._faint is not None:
            for small, ratio in shrunk(picture, [min(_FAINT_SCALE, long_side)]):
                faces = self._search(upright_views(with_contrast(small)), self._faint)
                faces = [face for face in faces if contrast_at(small, face) < _FAINT]
                found += [scaled(face, ratio)._replace(faint=True) for face in faces]
        return found

    def _turned_faces(self, picture: np.ndarray) -> list[Face]:
        if self._turned is None:
            return []
        long_side, found = max(picture.shape[:2]), []
        for sizes, first in ((quarter_turned_sizes, 90), (eighth_turned_sizes, 45)):
            for small, ratio in shrunk(picture, sizes(long_side)):
                faces = self._search(turned_views(small, range(first, 360, 90)), self._turned)
                found += [scaled(face, ratio) for face in faces]
        return found

    def _search(self, views: Iterable[View], threshold: float) -> list[Face]:
        found = []
        for view in views:
            # Most windows of an obfuscated picture equal the original's, searched just before.
            pixels = cv2.cvtColor(view.pixels, cv2.COLOR_RGB2BGR)
            key = threshold, pixels.shape, hashlib.sha256(pixels.data).digest()
            faces = self._local.earlier.get(key)
            if faces is None:
                faces = self._detect(pixels, threshold)
            self._local.seen[key] = faces
            found += view.placed(faces)
        return found

    def _detect(self, pixels: np.ndarray, threshold: float) -> list[Face]:
        network = self._network()
        network.setInputSize(pixels.shape[1::-1])
        network.setScoreThreshold(threshold)
        _, rows = network.detect(pixels)
        return [] if rows is None else [_face(row) for row in rows]

    def _network(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._local, "yunet"):
            with quiet_opencv():
                self._local.yunet = cv2.FaceDetectorYN.create(
                    self._file, "", (320, 320), nms_threshold=OVERLAP
                )
        return self._local.yunet


def _face(row: np.ndarray) -> Face:
    left, top, width, height = map(float, row[:4])
    return Face((left, top, width, height), float(row[14]), row[4:14].reshape(5, 2))
