"""Helpers for tests of evaluation: a small test set with predictions, and calls of the command."""

import numpy as np

from p3m_jax.commands import evaluate as command
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.trimap import trimap_from_matte

SHAPES = {"c": (90, 70), "a": (64, 96), "b": (70, 70)}


def disc(shape, radius) -> np.ndarray:
    """Returns a matte, uint8 (H, W): a disc in the middle."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    return np.clip((radius - distance) * 40 + 128, 0, 255).astype(np.uint8)


def write_set(folder):
    """Writes a P3M-500-P of three small pictures, and predictions whose errors grow from a to c."""
    base = folder / "data" / "validation" / "P3M-500-P"
    for number, (stem, shape) in enumerate(sorted(SHAPES.items())):
        matte = disc(shape, 20)
        trimap = trimap_from_matte(matte, 7)  # differs from the one that evaluation makes
        face = np.zeros(shape, np.uint8)
        face[25:35, 30:40] = 255 if stem != "b" else 0
        picture = np.repeat(matte[..., None] // 2 + 60, 3, axis=-1)
        write_image(base / "blurred_image" / f"{stem}.jpg", picture)
        write_image(base / "mask" / f"{stem}.png", matte)
        write_image(base / "trimap" / f"{stem}.png", trimap)
        write_image(base / "facemask" / f"{stem}.png", face)
        write_image(folder / "theirs" / f"{stem}.png", disc(shape, 21 + number))
    return folder


def evaluate(arguments) -> int:
    """Runs evaluate.py in this process; returns its exit code."""
    try:
        return command.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code


def arguments(root, *more) -> list[str]:
    """Returns the arguments that score the predictions of `write_set`."""
    data = ["--predictions", root / "theirs", "--set", "P3M-500-P", "--data", root / "data"]
    return [str(argument) for argument in [*data, "-o", root / "out", *more]]
