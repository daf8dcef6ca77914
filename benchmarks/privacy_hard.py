"""Measures how much is hidden of faces that are cut by the edge, partly covered, or faint.

    python benchmarks/privacy_hard.py --faces FACES [--every 4]

FACES holds `faces.json` and `pictures/`. Every picture with one certain face is made hard in each
way. The area to hide is the visible rest of the face area in the unchanged picture. The table
shows the number of pictures, the numbers with at least 0.95 and 0.6 of that area hidden, and the
number that would be released with less than 0.95 hidden. A picture in which no face is found needs
review, so it is not released.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import command_line as cli
import cv2
import numpy as np
from privacy import checked, trial

from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.region import label_map
from p3m_jax.pictures.images import read_picture

Hard = tuple[np.ndarray, np.ndarray]  # a picture, and the area of its face to hide, bool (H, W)
_LONG_SIDE = 900


def cut(left: float, side: int) -> Callable[..., Hard]:
    """Keeps only a fraction `left` of the face's box in the picture, at one of its four sides."""

    def made(picture, face, area):
        x, y, width, height = face.box
        gone = round((1 - left) * (width if side < 2 else height))
        rows, columns = slice(None), slice(None)
        if side == 0:
            columns = slice(max(0, round(x) + gone), None)
        elif side == 1:
            columns = slice(None, round(x + width) - gone)
        elif side == 2:
            rows = slice(max(0, round(y) + gone), None)
        else:
            rows = slice(None, round(y + height) - gone)
        return np.ascontiguousarray(picture[rows, columns]), area[rows, columns]

    return made


def covered(left: float, top: float, right: float, bottom: float) -> Callable[..., Hard]:
    """Covers a part of the face, given in fractions of the face's box, with one colour."""

    def made(picture, face, area):
        x, y, width, height = face.box
        rows = slice(max(0, round(y + top * height)), max(0, round(y + bottom * height)))
        columns = slice(max(0, round(x + left * width)), max(0, round(x + right * width)))
        picture, area = picture.copy(), area.copy()
        picture[rows, columns], area[rows, columns] = (90, 140, 60), False
        return picture, area

    return made


def faint(share: float, ground: float) -> Callable[..., Hard]:
    """Reduces the picture's contrast to a fraction `share`, around the brightness `ground`."""

    def made(picture, face, area):
        values = ground + share * (picture.astype(np.float32) - ground)
        return np.rint(values).astype(np.uint8), area

    return made


WAYS: dict[str, list[Callable[..., Hard]]] = {
    "as it is": [lambda picture, face, area: (picture, area)],
    **{
        f"{left:.0%} of the face at the edge": [cut(left, side) for side in range(4)]
        for left in (0.65, 0.5, 0.35)
    },
    "left half covered": [covered(-0.2, -0.3, 0.5, 1.2)],
    "right half covered": [covered(0.5, -0.3, 1.2, 1.2)],
    "eyes and forehead covered": [covered(-0.2, -0.3, 1.2, 0.55)],
    "mouth and nose covered": [covered(-0.1, 0.55, 1.1, 1.1)],
    "3 % of the brightness": [faint(0.03, 0)],
    "98 % white": [faint(0.02, 255)],
    "laid over grey, 6 of 255": [faint(6 / 255, 120)],
}


def sure_faces(folder: Path, every: int, finder) -> list[tuple]:
    """(picture, face, area) of every N-th picture in which one face is found without doubt."""
    chosen = []
    for file in list(checked.true_faces(folder))[::every]:
        picture = read_picture(folder / "pictures" / file)
        scale = min(1, _LONG_SIDE / max(picture.shape))
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        sure = [one for one in finder(picture) if not one.doubts]
        if len(sure) == 1:
            area = label_map([sure[0].polygon], picture.shape[:2]) > 0
            chosen.append((picture, sure[0].face, area))
    return chosen


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--faces", type=Path, help="faces.json and pictures/")
    parser.add_argument("--every", type=int, default=1, help="use only every N-th picture")
    args = cli.parse(parser, argv)
    finder = FaceFinder()
    with tempfile.TemporaryDirectory() as folder:
        if args.faces is None and not args.quick:
            cli.refuse("--faces: a folder with faces.json and pictures/ is needed.")
        faces = args.faces or trial.write_faces(Path(folder), finder)
        chosen = sure_faces(faces, args.every, finder)
    table = cli.Table("way", "pictures", "0.95 hidden", "0.6 hidden", "released with less")
    rows = []
    for title, ways in list(WAYS.items())[: 2 if args.quick else None]:
        shares, passed = [], 0
        for number, (picture, face, labels) in enumerate(chosen):
            hard, area = ways[number % len(ways)](picture, face, labels)
            found = finder(hard)
            hidden = label_map([one.polygon for one in found], area.shape) > 0
            shares.append((hidden & area).sum() / max(1, area.sum()))
            passed += bool(found) and not any(one.doubts for one in found) and shares[-1] < 0.95
        counts = [sum(share >= least for share in shares) for least in (0.95, 0.6)]
        table.row(title, len(shares), *counts, passed)
        rows.append({"way": title, "shares": list(map(float, shares)), "passed": passed})
    cli.write_report(args, rows)


if __name__ == "__main__":
    cli.run(main)
