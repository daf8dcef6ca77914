"""Faces for --quick: the portrait of this clone, and one that comes with Matplotlib."""

import json
from pathlib import Path

import command_line as cli
import cv2
import numpy as np

from p3m_jax.pictures.images import read_picture, write_image


def portrait() -> np.ndarray:
    """The portrait of `docs/images/astronaut.jpg`, the left third of it, uint8 (512, 512, 3)."""
    return read_picture(cli.PICTURE)[:, :512]


def write_faces(folder: Path, finder) -> Path:
    """Writes the portrait as a folder with `faces.json` and `pictures/`; returns the folder."""
    picture = portrait()
    found = [one.face for one in finder(picture) if not one.doubts]
    if len(found) != 1:
        raise SystemExit(f"{cli.PICTURE}: one face was expected, and {len(found)} were found.")
    (folder / "pictures").mkdir(parents=True)
    write_image(folder / "pictures" / "portrait.png", picture)
    face = {
        "box_xywh": [float(value) for value in found[0].box],
        "kp5_reye_leye_nose_rmouth_lmouth": np.asarray(found[0].points).tolist(),
    }
    (folder / "faces.json").write_text(json.dumps({"portrait.png": {"faces": [face]}}))
    return folder


def write_people(folder: Path) -> tuple[Path, Path]:
    """Writes two pictures of one person with their tables, and one of another; returns folders."""
    import matplotlib

    other = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not other.is_file():
        cli.refuse(f"{other}: is missing; install Matplotlib again.")
    people, others = folder / "people", folder / "others"
    people.mkdir()
    others.mkdir()
    picture = portrait()
    write_image(people / "one.png", picture)
    write_image(people / "two.png", cv2.convertScaleAbs(picture, alpha=0.8, beta=10))
    (people / "master.csv").write_text("a,b,same\none.png,two.png,Yes\n")
    (people / "face-recognition-pivot.csv").write_text("a,b,same\n")
    write_image(others / "other.jpg", read_picture(other))
    return people, others
