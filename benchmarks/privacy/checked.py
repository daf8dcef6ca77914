"""Corrections that a person made to the faces in the test pictures of the privacy benchmarks.

The pictures come with candidates that a detector found: boxes and five points per face
(`faces.json`). This module holds the corrections by a person, and attributes that no network can
determine. Everything is named by the file, and faces as `file#index of its candidate`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.pictures.images import read_picture

# A painting behind the sitter: the only one of 112 candidates that is not a face.
NO_FACE = {"face_recognition__biden2.jpg#1"}
# Pictures that do not have exactly one face. The face of a robot counts (sophia). Heads of which
# only hair or an edge of the cheek is visible do not count (obama2, at the right edge).
FACES = {
    "face_recognition__two_people.jpg": 2,
    "singnet_face_services__laos.jpg": 2,
    "uniface__scientists.png": 29,
}
GROUP = "uniface__scientists.png"
# Glasses, hats and poses were not recorded in the group picture.
HALF_PROFILE = {
    "face_recognition__obama2.jpg#0",
    "singnet_face_services__laos.jpg#0",
    "singnet_face_services__sophia.jpg#0",
    "singnet_face_services__woman_portrait.jpg#0",
}
GLASSES = {
    "matplotlib__grace_hopper.jpg#0",
    "us_congress_pd__A000014.jpg#0",
    "us_congress_pd__B000287.jpg#0",
    "us_congress_pd__E000179.jpg#0",
    "us_congress_pd__F000461.jpg#0",
    "us_congress_pd__L000579.jpg#0",
    "us_congress_pd__M001137.jpg#0",
    "us_congress_pd__M001167.jpg#0",
    "us_congress_pd__T000459.jpg#0",
}
HAT = {"matplotlib__grace_hopper.jpg#0"}
# Pictures of people, statues or stamped heads in the sample folders of scikit-image and Matplotlib.
# They may show a face, so they are left out of the pictures without faces.
PEOPLE_IN_SAMPLES = {"astronaut.png", "camera.png", "coins.png", "grace_hopper.jpg"}


def without_people(places: list[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    """The files and pictures of folders (or files), except those of people in sample folders."""
    for place in places:
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            if file.name in PEOPLE_IN_SAMPLES or not file.is_file():
                continue
            try:
                yield file, read_picture(file)
            except UserError:
                continue  # these folders also hold other files


class TrueFace(NamedTuple):
    """A real face.

    Attributes:
      name: `file#index`.
      box: left, top, width, height, in pixels.
      points: float64 (5, 2), right eye, left eye, nose, right and left corner of the mouth.
    """

    name: str
    box: tuple[float, float, float, float]
    points: np.ndarray


def true_faces(folder: Path) -> dict[str, list[TrueFace]]:
    """The faces of every picture of a folder that holds `faces.json` and `pictures/`."""
    faces = {}
    for file, entry in json.loads((folder / "faces.json").read_text()).items():
        named = [
            TrueFace(
                f"{file}#{number}",
                tuple(candidate["box_xywh"]),
                np.reshape(candidate["kp5_reye_leye_nose_rmouth_lmouth"], (5, 2)),
            )
            for number, candidate in enumerate(entry["faces"])
        ]
        faces[file] = [face for face in named if face.name not in NO_FACE]
        if len(faces[file]) != FACES.get(file, 1):
            raise SystemExit(
                f"{file}: has {len(faces[file])} faces, but a person counted {FACES.get(file, 1)}."
            )
    return faces


def marked_points() -> dict[str, dict[str, np.ndarray]]:
    """Points marked by hand, (N, 2) in pixels, by face and part; covered parts are left out.

    They are the outer corners of the eyes, the upper edges of the brows, the tip of the nose, the
    corners of the mouth, the lower end of the chin, and the outline next to nose and mouth. They
    were read off enlarged pictures with a grid, and are accurate to about 2 % of the face.
    """
    path = Path(__file__).with_name("marked_points.json")
    return {
        name: {part: np.reshape(points, (-1, 2)) for part, points in parts.items()}
        for name, parts in json.loads(path.read_text()).items()
    }
