"""Measures how many small faces are found in large pictures, by the sizes of both, and the time.

    python benchmarks/privacy_large.py --faces FACES [--sizes 4000x3000 ...]

Pastes real faces of FACES (`faces.json` and `pictures/`) on mosaics of pictures without faces, as
`privacy/scenes.py` does: by default, those of scikit-image. Half of the faces are upright
within 15 degrees; the others are turned by 45, 90, ... 315 degrees. A face is found if a private
area contains its centre. Seconds are those of one core.
"""

import tempfile
from pathlib import Path

import command_line as cli
import cv2
import numpy as np
import skimage
from privacy import scenes, trial
from sides import Clock, peak_memory

from p3m_jax.faces.finding import FaceFinder

SIDES = (24, 32, 40, 48, 60, 72)  # pixels, of the longer side of a face's box


def wanted(noise: np.random.Generator, number: int) -> list[tuple[int, int]]:
    """The sides in pixels and angles in degrees of the faces.

    There are as many upright as turned faces of each side.
    """
    faces = []
    for side in SIDES:
        faces += [(side, int(noise.integers(-15, 16))) for _ in range(number)]
        faces += [(side, int(45 * noise.integers(1, 8))) for _ in range(number)]
    return [faces[place] for place in noise.permutation(len(faces))]


def search(finder, picture, there) -> dict:
    """Which of the faces are found, the other findings, and the seconds."""
    with Clock() as clock:
        found = finder(picture)
    hits = [
        [cv2.pointPolygonTest(one.polygon, face.center, False) >= 0 for one in found]
        for face in there
    ]
    matched = np.any(np.reshape(hits, (len(there), len(found))), axis=0)
    others = [one for one, hit in zip(found, matched, strict=True) if not hit]
    return {
        "found": [any(hit) for hit in hits],
        "others": len(others),
        "sure": sum(not one.doubts for one in others),
        "seconds": clock.cpu,
    }


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--faces", type=Path, help="faces.json and pictures/")
    parser.add_argument("--without", type=Path, help="pictures without any face (scikit-image's)")
    parser.add_argument("--sizes", nargs="+", default=["4000x3000", "12000x9000", "16000x8000"])
    parser.add_argument(
        "--number", type=int, default=10, help="upright faces of each side, and turned ones"
    )
    args = cli.parse(parser, argv, sizes=["800x600"], number=1)
    if args.faces is None and not args.quick:
        cli.refuse("--faces: a folder with faces.json and pictures/ is needed.")

    cv2.setNumThreads(1)
    finder = FaceFinder()
    with tempfile.TemporaryDirectory() as folder:
        squares = scenes.cut_faces(args.faces or trial.write_faces(Path(folder), finder))
    pictures = scenes.backgrounds(args.without or Path(skimage.data_dir))
    titles = [f"{side} px" for side in SIDES]
    table = cli.Table("picture", "faces", *titles, "other findings, sure", "s")
    rows = []
    for name in args.sizes:
        width, height = map(int, name.split("x"))
        noise = np.random.default_rng(0)
        picture, there = scenes.scene(
            noise, (height, width), pictures, squares, wanted(noise, args.number)
        )
        row = search(finder, picture, there)
        rows.append({"picture": name, "faces": [face._asdict() for face in there]} | row)
        for kind, turned in (("upright", False), ("turned", True)):
            cells = []
            for side in SIDES:
                of_it = [
                    hit
                    for face, hit in zip(there, row["found"], strict=True)
                    if face.side == side and (abs(face.degrees) > 15) == turned
                ]
                cells.append(f"{sum(of_it)} of {len(of_it)}")
            whole = f"{row['others']}, {row['sure']}", f"{row['seconds']:.1f}"
            table.row(name, kind, *cells, *(("", "") if turned else whole))
    print(f"\nPeak memory {cli.gigabytes(peak_memory())} GB")
    cli.write_report(args, rows)


if __name__ == "__main__":
    cli.run(main)
