"""Measures how many small faces are found in large pictures, by the sizes of both, and the time.

    python benchmarks/privacy/large.py --faces FACES --without SKIMAGE/data [--sizes 4000x3000 ...]

Pastes real faces of FACES (`faces.json` and `pictures/`) on mosaics of pictures without faces, as
`scenes.py` does; SKIMAGE is the folder of the package scikit-image. Half of the faces are upright
within 15 degrees; the others are turned by 45, 90, ... 315 degrees. A face is found if a private
area contains its centre. Seconds are those of one core.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import scenes

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


def main() -> int:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, required=True, help="faces.json and pictures/")
    parser.add_argument("--without", type=Path, required=True, help="pictures without any face")
    parser.add_argument("--sizes", nargs="+", default=["4000x3000", "12000x9000", "16000x8000"])
    parser.add_argument(
        "--number", type=int, default=10, help="upright faces of each side, and turned ones"
    )
    options = parser.parse_args()

    cv2.setNumThreads(1)
    squares, pictures = scenes.cut_faces(options.faces), scenes.backgrounds(options.without)
    finder = FaceFinder()
    titles = [f"{side} px" for side in SIDES]
    print(f"| picture | | {' | '.join(titles)} | other findings, sure | seconds |")
    print("|---|---|" + "---|" * (len(SIDES) + 2))
    for name in options.sizes:
        width, height = map(int, name.split("x"))
        noise = np.random.default_rng(0)
        picture, there = scenes.scene(
            noise, (height, width), pictures, squares, wanted(noise, options.number)
        )
        before = time.process_time()
        found = finder(picture)
        seconds = time.process_time() - before
        hits = [
            [cv2.pointPolygonTest(one.polygon, face.center, False) >= 0 for one in found]
            for face in there
        ]
        others = [one for one, hit in zip(found, np.any(hits, axis=0), strict=True) if not hit]
        sure = sum(not one.doubts for one in others)
        for kind, turned in (("upright", False), ("turned", True)):
            cells = []
            for side in SIDES:
                of_it = [
                    any(hit)
                    for face, hit in zip(there, hits, strict=True)
                    if face.side == side and (abs(face.degrees) > 15) == turned
                ]
                cells.append(f"{sum(of_it)} of {len(of_it)}")
            first = turned or f"{len(others)}, {sure} | {seconds:.1f}"
            print(
                f"| {name} | {kind} | {' | '.join(cells)} | {'|' if turned else first} |",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nPeak memory {peak:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
