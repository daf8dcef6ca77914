"""Writes synthetic portraits in P3M-10k's layout, so that everything runs without P3M-10k.

The folder has the form of P3M-10k's archive of 2024 (see `data/layouts.py`). Faces are obfuscated
in the training set and in P3M-500-P. P3M-500-NP shows normal faces, or people from behind. Drawn
people have no privacy to protect, so the obfuscated portraits also exist with normal faces
(`original_image`, `fg`). `faces/{image,mask}` contains portraits of a few more people: P3M-CP
copies their faces instead of public faces.

The synthetic portraits show that a program works. A score measured on them says nothing about real
portraits.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from p3m_jax.data.folders import DataSetError
from p3m_jax.data.layouts import SYNTHETIC_MARK, UNFINISHED_MARK, folder_names
from p3m_jax.data.synthetic.portrait import Portrait, draw_portrait, obfuscate_portrait
from p3m_jax.errors import OptionError
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.storage import StrPath
from p3m_jax.storage.files import write_text
from p3m_jax.storage.paths import output_folder

# Must be increased whenever the same settings give different pixels than before.
GENERATOR = 3

FACES_FOLDER = Path("faces")

# The parts of the set: a number that is part of the seed, and the folder.
_PARTS = {
    "train": (0, Path("train")),
    "P3M-500-P": (1, Path("validation/P3M-500-P")),
    "P3M-500-NP": (2, Path("validation/P3M-500-NP")),
    "faces": (3, FACES_FOLDER),
}
_PUBLIC_FACES = {"picture": "image", "facemask": "mask"}
_FACES_SIZE = (256, 256)  # independent of the portraits' size
_JPEG = ("blurred_image", "original_image", "bg", "image")
SIDES = (32, 4096)  # pixels; a single portrait with larger sides would fill the memory
_BEHIND = 4  # every fourth person of P3M-500-NP is seen from behind


def write_synthetic_set(
    root: StrPath,
    *,
    train: int = 64,
    test: int = 8,
    faces: int = 8,
    size: tuple[int, int] = (384, 288),
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Writes a data set of synthetic portraits to `root`; returns `root`.

    Call it again with the same settings to resume a killed run, or to restore missing files. Every
    file is written completely or not at all. SYNTHETIC.json, with the settings, is written last.

    Args:
      train: number of training pictures.
      test: number of pictures in each test set.
      faces: number of public faces with masks.
      size: height and width of the pictures in pixels.
      seed: a picture depends on the seed, its set and its number, but not on the counts.
      progress: shows a bar.

    Raises:
      OptionError: sizes or counts that cannot be drawn.
      DataSetError: `root` contains a set with other settings, or any other files.
    """
    root = output_folder(root, "choose a new folder for the synthetic set with -o")
    height, width = (int(side) for side in size)
    if min(height, width) < SIDES[0] or max(height, width) > SIDES[1]:
        raise OptionError(
            f"{root}: cannot draw pictures of {height} x {width}; choose sides of {SIDES[0]} to "
            f"{SIDES[1]} pixels."
        )
    if train < 1 or test < 0 or faces < 0 or seed < 0:
        raise OptionError(
            f"{root}: cannot draw {train} training and {test} test pictures and {faces} faces with "
            f"seed {seed}; at least one must be for training, and no number may be negative."
        )
    settings = {
        "generator": GENERATOR,
        "seed": int(seed),
        "train": int(train),
        "test": int(test),
        "faces": int(faces),
        "size": [height, width],
    }
    mark, unfinished = root / SYNTHETIC_MARK, root / UNFINISHED_MARK
    _claim(root, settings)
    counts = {"train": train, "P3M-500-P": test, "P3M-500-NP": test, "faces": faces}
    jobs = [(part, number) for part, count in counts.items() for number in range(count)]
    for part, number in tqdm(
        jobs, desc="Drawing synthetic portraits", unit="picture", disable=not progress
    ):
        _write_example(root, part, number, (height, width), seed)
    if not mark.is_file():
        unfinished.replace(mark)
    return root


def example_files(
    part: str, number: int, size: tuple[int, int], seed: int
) -> dict[str, np.ndarray]:
    """Draws all files of one example; returns {folder name: picture or map}, uint8.

    `part` is "train", the name of a test set, or "faces". The pictures are of `size` (H, W), except
    those of "faces", which are always 256 x 256.
    """
    code, _ = _PARTS[part]
    if part == "faces":
        return _files(draw_portrait((seed, code, number), _FACES_SIZE), _PUBLIC_FACES)
    behind = part == "P3M-500-NP" and number % _BEHIND == _BEHIND - 1
    normal = draw_portrait((seed, code, number), size, behind=behind)
    files = _files(normal, folder_names(part, "normal"))
    if part != "P3M-500-NP":
        files |= _files(obfuscate_portrait(normal), folder_names(part, "blurred"))
    return files


def _files(portrait: Portrait, folders: dict[str, str]) -> dict[str, np.ndarray]:
    values = {
        "picture": portrait.picture,
        "matte": lambda: portrait.matte,
        "foreground": lambda: portrait.foreground,
        "background": lambda: portrait.background,
        "facemask": lambda: portrait.facemask,
        "trimap": lambda: trimap_from_matte(portrait.matte),
    }
    return {folder: values[role]() for role, folder in folders.items()}


def _write_example(root: Path, part: str, number: int, size: tuple[int, int], seed: int) -> None:
    stem = f"synthetic_{number:05d}"
    base = root / _PARTS[part][1]
    folders = _folders(part)
    paths = {
        folder: base / folder / f"{stem}.{'jpg' if folder in _JPEG else 'png'}"
        for folder in folders
    }
    # A file with its final name is complete, so existing files need not be drawn again.
    if all(path.is_file() for path in paths.values()):
        return
    for folder, values in example_files(part, number, size, seed).items():
        if not paths[folder].is_file():
            write_image(paths[folder], values)


def _folders(part: str) -> set[str]:
    if part == "faces":
        return set(_PUBLIC_FACES.values())
    return {*folder_names(part, "blurred").values(), *folder_names(part, "normal").values()}


def _claim(root: Path, settings: dict) -> None:
    """Marks `root` as being written with these settings, unless it already has their mark."""
    mark, unfinished = root / SYNTHETIC_MARK, root / UNFINISHED_MARK
    for path in (mark, unfinished):
        if path.is_file():
            found = _read_settings(path)
            if found != settings:
                raise DataSetError(
                    f"{root}: holds a synthetic set with {_differences(found, settings)}; choose "
                    "another folder, or delete this one."
                )
            return
    if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise DataSetError(
            f"{root}: is not empty and is not a synthetic set; choose a new folder, so that none "
            "of your files is overwritten."
        )
    root.mkdir(parents=True, exist_ok=True)
    write_text(unfinished, json.dumps(settings, indent=2) + "\n")


def _read_settings(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise DataSetError(f"{path}: cannot be read; delete the folder and write the set again.")
    return found


def _differences(found: dict, wanted: dict) -> str:
    keys = [key for key in wanted if found.get(key) != wanted[key]]
    return ", ".join(f"{key} {found.get(key)} instead of {wanted[key]}" for key in keys)
