"""Makes large pictures with small faces, by pasting real faces on a mosaic of other pictures."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from privacy import checked

from p3m_jax.pictures.images import read_picture

_REACH = 1.5  # side of the pasted square over the longer side of the face's box: most of the head
_SMALLEST = 72  # pixels; smaller faces of the collection are not used, so none is enlarged


class Pasted(NamedTuple):
    """A face of a scene.

    Attributes:
      center: (x, y) in pixels of the scene.
      side: the longer side of the face's box, in pixels.
      degrees: its rotation, counter-clockwise.
    """

    center: tuple[float, float]
    side: int
    degrees: int


def cut_faces(folder: Path) -> list[np.ndarray]:
    """Cuts out squares around the faces of a folder with `faces.json`.

    The face takes up two thirds of a square's side.
    """
    squares = []
    for file, faces in checked.true_faces(folder).items():
        picture = read_picture(folder / "pictures" / file)
        for face in faces:
            left, top, width, height = face.box
            side = max(width, height)
            if side < _SMALLEST:
                continue
            center = np.rint([left + width / 2, top + height / 2 - 0.05 * side]).astype(int)
            half = round(side * _REACH / 2)
            padded = cv2.copyMakeBorder(picture, half, half, half, half, cv2.BORDER_REFLECT)
            x, y = np.clip(center, 0, np.array(picture.shape[1::-1]))
            squares.append(padded[y : y + 2 * half, x : x + 2 * half].copy())
    return squares


def backgrounds(folder: Path) -> list[np.ndarray]:
    """The pictures without faces in a folder that are large enough for a mosaic."""
    found = [picture for _, picture in checked.without_people([folder])]
    return [picture for picture in found if min(picture.shape[:2]) >= 256]


def mosaic(noise: np.random.Generator, size: tuple[int, int], pictures, cell=1024) -> np.ndarray:
    """Makes a picture uint8 (H, W, 3) of `size`; each cell is a part of one of the pictures."""
    made = np.empty((*size, 3), np.uint8)
    for top in range(0, size[0], cell):
        for left in range(0, size[1], cell):
            picture = pictures[noise.integers(len(pictures))]
            part = int(min(*picture.shape[:2], cell // noise.integers(1, 4)))
            row, column = (int(noise.integers(side - part + 1)) for side in picture.shape[:2])
            window = picture[row : row + part, column : column + part]
            target = made[top : top + cell, left : left + cell]
            target[:] = cv2.resize(window, (cell, cell))[: target.shape[0], : target.shape[1]]
    return made


def scene(
    noise: np.random.Generator,
    size: tuple[int, int],
    pictures: list[np.ndarray],
    squares: list[np.ndarray],
    wanted: list[tuple[int, int]],
) -> tuple[np.ndarray, list[Pasted]]:
    """Makes a picture uint8 (H, W, 3) with a face for each wanted (side, degrees)."""
    made, pasted = mosaic(noise, size, pictures), []
    columns = int(np.ceil(np.sqrt(len(wanted) * size[1] / size[0])))
    rows = -(-len(wanted) // columns)
    for number, (side, degrees) in enumerate(wanted):
        whole = round(side * _REACH)
        field = np.array(size) / (rows, columns)
        corner = field * divmod(number, columns) + noise.uniform(0, field - 1.5 * whole)
        top, left = np.maximum(corner + 0.25 * whole, 0).astype(int)
        square = squares[noise.integers(len(squares))]
        small = cv2.resize(square, (whole, whole), interpolation=cv2.INTER_AREA)
        center = (whole - 1) / 2, (whole - 1) / 2
        small = cv2.warpAffine(
            small,
            cv2.getRotationMatrix2D(center, degrees, 1),
            (whole, whole),
            borderMode=cv2.BORDER_REFLECT,
        )
        y, x = np.mgrid[:whole, :whole] / center[0] - 1
        alpha = np.clip((1 - np.hypot(x, y)) * 8, 0, 1)[..., None]
        window = made[top : top + whole, left : left + whole]
        window[:] = np.rint(alpha * small + (1 - alpha) * window)
        pasted.append(Pasted((left + whole / 2, top + whole / 2), side, degrees))
    return made, pasted
