"""CelebAMask-HQ's folder: 30,000 faces of 1024 x 1024 pixels, and masks of their parts.

The pictures are `CelebA-HQ-img/N.jpg`. The masks are `CelebAMask-HQ-mask-anno/D/NNNNN_PART.png`,
512 x 512, with N in five digits and D = N // 2000; a part that is not visible has no file. The set
is for non-commercial research; nothing here downloads it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from p3m_jax.data.folders import DataSetError, find_root, list_folder
from p3m_jax.data.records import CELEBAMASK, Records, find_records
from p3m_jax.pictures.labels import read_face_mask
from p3m_jax.pictures.sizes import require_size
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart

PICTURES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
FOLDERS, PER_FOLDER = 15, 2000
# The parts inside P3M-10k's face masks: no hair, hat, ears, ear rings or neck, but glasses.
FACE_PARTS = (
    *("skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose"),
    *("u_lip", "l_lip", "mouth", "eye_g"),
)
_BROWS = ("l_brow", "r_brow")
_EYES = ("l_eye", "r_eye", "eye_g")


@dataclass(frozen=True)
class CelebAFace:
    """A picture of a face, and the masks of the face's parts.

    Attributes:
      stem: the picture's name without its ending.
      picture: the picture's file.
      skin: the mask of the skin, which every face has; also in `parts`. The cache of combined face
        masks records the size of this file, to notice when the masks of a face have changed.
      parts: all masks by part, such as "nose".
    """

    stem: str
    picture: Path | FilePart
    skin: Path | FilePart
    parts: Mapping[str, Path | FilePart]


def scan_celebamask(root: StrPath) -> tuple[list[CelebAFace], list[str]]:
    """Returns (faces, stems): the faces in `root`, and the stems of pictures without a skin mask.

    The faces are sorted by number. `root` may also be a folder of records (see `data/records.py`).
    Records contain only pictures with a skin mask, so the list `stems` is then empty.

    Raises:
      DataSetError: `root` does not have the set's folders, or they hold no faces.
    """
    records = find_records(root, (CELEBAMASK,))
    if records is not None:
        return _faces_of_records(records), []
    root = find_root(root, Path(PICTURES))
    if not (root / MASKS).is_dir():
        raise DataSetError(f"{root / MASKS}: there is no such folder; unpack the masks there.")
    there = [_names(root / MASKS / str(number)) for number in range(FOLDERS)]
    faces, without = [], []
    pictures = list_folder(root / PICTURES).files
    numbered = {int(stem): path for stem, path in pictures.items() if stem.isdecimal()}
    for number, picture in sorted(numbered.items()):
        folder = number // PER_FOLDER
        if folder >= FOLDERS:
            continue
        names = {part: f"{number:05d}_{part}.png" for part in FACE_PARTS}
        parts = {
            part: root / MASKS / str(folder) / name
            for part, name in names.items()
            if name in there[folder]
        }
        if "skin" in parts:
            faces.append(CelebAFace(picture.stem, picture, parts["skin"], parts))
        else:
            without.append(picture.stem)
    if not faces:
        raise DataSetError(
            f"{root}: no picture in {PICTURES}/ has a mask NNNNN_skin.png in {MASKS}/; "
            "unpack both folders again."
        )
    return faces, without


def _faces_of_records(records: Records) -> list[CelebAFace]:
    files = records.files("train")
    pictures = files.pop("picture", {})
    parts = {
        stem: {part: by_stem[stem] for part, by_stem in files.items() if stem in by_stem}
        for stem in sorted(pictures, key=int)
    }
    return [CelebAFace(stem, pictures[stem], parts[stem]["skin"], parts[stem]) for stem in parts]


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as listing:
        return {entry.name for entry in listing}


def face_mask(face: CelebAFace, size: tuple[int, int]) -> np.ndarray:
    """Makes the face mask from the masks of the parts: uint8 {0, 255} of `size` (H, W).

    The mask is the union of the parts, cut off above a horizontal line. The line is at the top of
    the higher brow, as in the paper's figure. If hair, a hat or dark glasses hide both brows, the
    line is at the top of the eyes or glasses. If the face has none of these parts either, the
    position of the brows is unknown, and the mask is empty.
    """
    masks = {part: read_face_mask(path) > 0 for part, path in face.parts.items()}
    skin = masks["skin"]
    for part, mask in masks.items():
        require_size(face.parts[part], mask.shape, skin.shape, "skin mask", "unpack both again")
    together = np.logical_or.reduce(list(masks.values()))
    for parts in (_BROWS, _EYES):
        rows = [np.flatnonzero(masks[part].any(1))[:1] for part in parts if part in masks]
        top = np.concatenate([*rows, [together.shape[0]]]).min()
        if top < together.shape[0]:
            break
    together[: int(top)] = False
    values = together.astype(np.uint8) * np.uint8(255)
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)
