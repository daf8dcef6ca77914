"""What eyes saw in the pictures that the benchmarks of privacy are run on.

The pictures come with candidates, boxes and five points of faces that a detector found
(`faces.json`). Here is what a person changed about them, and marks that no network can tell.
Everything is named by the file, faces as `file#index of its candidate`.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

# A painting behind the sitter; the only candidate of 112 that is no face.
NO_FACE = {"face_recognition__biden2.jpg#1"}
# Pictures with other than one face. A robot's counts (sophia); heads of which nothing but hair or
# an edge of the cheek can be seen (obama2, at the right edge) do not.
FACES = {
    "face_recognition__two_people.jpg": 2,
    "singnet_face_services__laos.jpg": 2,
    "uniface__scientists.png": 29,
}
GROUP = "uniface__scientists.png"
# In the group picture no glasses, hats or poses were counted.
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
# Pictures of people, statues or stamped heads in the sample folders of scikit-image and Matplotlib;
# they can show a face, so they are left out where pictures without faces are asked for.
PEOPLE_IN_SAMPLES = {"astronaut.png", "camera.png", "coins.png", "grace_hopper.jpg"}


class TrueFace(NamedTuple):
    """A face that is there.

    Attributes:
      name: `file#index`.
      box: left, top, width, height, pixels.
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
            raise SystemExit(f"{file}: {len(faces[file])} faces; eyes counted {FACES.get(file, 1)}")
    return faces


def marked_points() -> dict[str, dict[str, np.ndarray]]:
    """Points marked by hand, (N, 2) in pixels, by face and part; what is covered is left out.

    Read off enlarged pictures with a grid, true to some 2 % of the face: outer corners of the eyes,
    upper edges of the brows, tip of the nose, corners of the mouth, lower end of the chin, and the
    outline beside the nose and the mouth.
    """
    path = Path(__file__).with_name("marked_points.json")
    return {
        name: {part: np.reshape(points, (-1, 2)) for part, points in parts.items()}
        for name, parts in json.loads(path.read_text()).items()
    }
