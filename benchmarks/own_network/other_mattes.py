"""Makes the mattes of simple methods on a few portraits, to be scored beside a network.

    python benchmarks/own_network/other_mattes.py --data P3M --mediapipe PYTHON -o OUT

PYTHON is an interpreter with MediaPipe 0.10.14 (`pip install mediapipe==0.10.14` in an environment
of its own; its wheel contains the weights). Writes one STEM.png per portrait of P3M to

    OUT/box          1 in the box of the face area, which the data set's face masks show, else 0
    OUT/mediapipe    MediaPipe's selfie segmentation, general model
    OUT/closed_form  closed-form matting (PyMatting) of a trimap from that segmentation

`score.py --mattes` scores each folder.
"""

import argparse
import subprocess
from pathlib import Path

import cv2
import numpy as np
import score

from p3m_jax.commands import one_sentence_errors
from p3m_jax.data.sets import Example
from p3m_jax.errors import UserError
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_face_mask, read_prediction
from p3m_jax.text import say

# Runs in MediaPipe's interpreter: reads pairs of paths, picture and output, from the input.
SEGMENT = """
import sys
import mediapipe
import numpy as np
from PIL import Image

model = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
for line in sys.stdin.read().splitlines():
    picture, output = line.split("\\t")
    mask = model.process(np.asarray(Image.open(picture).convert("RGB"))).segmentation_mask
    Image.fromarray(np.rint(255 * np.clip(mask, 0, 1)).astype(np.uint8)).save(output)
"""
BAND = 0.02  # half width of the unknown band along the segmentation's edge, of the shorter side


def box(example: Example) -> np.ndarray:
    """1 in the box of the face area; if there is no face mask, everything is 0."""
    height, width = read_picture(example.picture).shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    if example.facemask is not None:
        rows, columns = np.nonzero(read_face_mask(example.facemask, several_channels=True) > 100)
        if len(rows):
            alpha[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 255
    return alpha


def closed_form(picture: np.ndarray, segmentation: np.ndarray) -> np.ndarray:
    """Closed-form matting of a picture, uint8 (H, W, 3), with a segmentation, uint8 (H, W)."""
    from pymatting import estimate_alpha_cf

    radius = max(1, round(BAND * min(segmentation.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    person = (segmentation > 127).astype(np.uint8)
    trimap = np.full(segmentation.shape, 0.5)
    trimap[cv2.dilate(person, disc) == 0] = 0
    trimap[cv2.erode(person, disc) > 0] = 1
    if not 0 < trimap.sum() < trimap.size or not (trimap == 1).any():
        return segmentation  # nothing was found, so there is no trimap
    return np.rint(255 * estimate_alpha_cf(picture / 255, trimap)).astype(np.uint8)


def make_mattes(args: argparse.Namespace) -> None:
    """Writes the mattes of all three methods."""
    examples = [example for _, example in score.examples_of(args.data)]
    segmented = args.output / "mediapipe"
    segmented.mkdir(parents=True, exist_ok=True)
    lines = [f"{example.picture}\t{segmented / f'{example.stem}.png'}" for example in examples]
    command = [args.mediapipe, "-c", SEGMENT]
    if subprocess.run(command, input="\n".join(lines), text=True, check=False).returncode:
        raise UserError(f"{args.mediapipe}: MediaPipe failed; the lines above say why.")
    for example in examples:
        name = f"{example.stem}.png"
        write_image(args.output / "box" / name, box(example))
        alpha = closed_form(read_picture(example.picture), read_prediction(segmented / name))
        write_image(args.output / "closed_form" / name, alpha)
        say(name)


def main() -> None:
    """Parses the arguments and makes the mattes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="P3M")
    parser.add_argument("--mediapipe", required=True, metavar="PYTHON")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    args = parser.parse_args()
    with one_sentence_errors():
        make_mattes(args)


if __name__ == "__main__":
    main()
