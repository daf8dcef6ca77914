"""The layout of data sets on disk: the folders of pictures, mattes and their other files.

P3M-10k has two forms, which are recognised by their folders. The older archive has
`train/{blurred_image,mask}`; the archive of 2024 also has `train/{fg_blurred,bg,facemask}`. The
test sets are `validation/P3M-500-P`, `validation/P3M-500-NP` and the separate
RealWorldPortrait-636. A user's own set may also contain pictures with normal faces: in
`original_image` and `fg` instead of `blurred_image` and `fg_blurred`, or next to them. Files of
different folders belong together if they have the same stem.

A folder of records, written by TFDS (see `data/records.py`), can be used instead of these folders.
The functions below then find the same data set, but each of its files is a part of a larger file.
"""

from collections.abc import Mapping
from pathlib import Path

from p3m_jax.data.folders import DataSetError, find_root, list_folder, upwards
from p3m_jax.data.records import FOLDER, Records, portrait_records
from p3m_jax.data.sets import REQUIRED, ROLES, DataSet, Scan
from p3m_jax.storage import StrPath
from p3m_jax.storage.file_part import FilePart
from p3m_jax.storage.files import is_written
from p3m_jax.storage.paths import source_folder, user_path

SYNTHETIC_MARK = "SYNTHETIC.json"
UNFINISHED_MARK = "SYNTHETIC.unfinished.json"  # exists while a synthetic set is being written

TRAINING_FOLDERS = {
    "picture": "blurred_image",
    "matte": "mask",
    "foreground": "fg_blurred",
    "background": "bg",
    "facemask": "facemask",
}
TEST_FOLDERS = {
    "P3M-500-P": {
        "picture": "blurred_image",
        "matte": "mask",
        "trimap": "trimap",
        "facemask": "facemask",
    },
    "P3M-500-NP": {"picture": "original_image", "matte": "mask", "trimap": "trimap"},
    "RealWorldPortrait-636": {"picture": "image", "matte": "alpha"},
}
# P3M-10k publishes blurred faces; only the owner of the pictures has normal ones.
FACES = ("blurred", "normal")
_NORMAL = {"picture": "original_image", "foreground": "fg"}
CACHE_FOLDERS = {"foreground": "fg", "background": "bg"}


def folder_names(part: str, faces: str | None = None) -> dict[str, str]:
    """Returns {role: folder name} for the training set or a test set.

    `part` is "train" or the name of a test set. `faces` is "blurred" or "normal". By default the
    folders are those that P3M-10k publishes: blurred faces, except in P3M-500-NP, which has only
    normal ones. The roles are the fields of `data.sets.Example`.
    """
    names = TRAINING_FOLDERS if part == "train" else TEST_FOLDERS[part]
    if faces != "normal":
        return names
    kept = {role: folder for role, folder in _NORMAL.items() if role in names}
    return names | kept if names["picture"] == TRAINING_FOLDERS["picture"] else names


def training_set(
    root: StrPath,
    *,
    faces: str = "blurred",
    foreground_cache: StrPath | None = None,
    facemasks: StrPath | None = None,
) -> DataSet:
    """Finds the training set of P3M-10k at `root`, the folder that contains `train/`.

    Args:
      faces: "blurred" reads `blurred_image`, "normal" reads `original_image`.
      foreground_cache: a folder with foregrounds in fg/ and backgrounds in bg/. If the archive does
        not have both for a picture, both come from this folder. If one is missing here, both are
        None.
      facemasks: a folder of face masks to use instead of the archive's.

    Raises:
      DataSetError: the set cannot be used.
    """
    return scan_training(
        root, faces=faces, foreground_cache=foreground_cache, facemasks=facemasks
    ).dataset()


def find_test_set(
    root: StrPath, name: str, *, faces: str | None = None, facemasks: StrPath | None = None
) -> DataSet:
    """Finds the test set `name`: "P3M-500-P", "P3M-500-NP" or "RealWorldPortrait-636".

    Args:
      root: P3M-10k's folder, which contains `validation/`. For RealWorldPortrait-636, the folder of
        that set, which contains `image/` and `alpha/` (it has no trimaps).
      faces: "normal" reads the pictures of P3M-500-P from `original_image`, which only the owner
        of the pictures has. By default the published pictures are read.
      facemasks: a folder of face masks to use instead of the set's own.

    Raises:
      DataSetError: the set cannot be used.
    """
    return scan_test(root, name, faces=faces, facemasks=facemasks).dataset()


def folder_pair(
    pictures: StrPath,
    mattes: StrPath,
    *,
    trimaps: StrPath | None = None,
    facemasks: StrPath | None = None,
    name: str | None = None,
) -> DataSet:
    """Makes a data set from a user's folders; files with the same stem belong together.

    `name` is the set's name, by default that of the folder of pictures. Raises `DataSetError` if
    the set cannot be used, for example because mattes are missing.
    """
    return scan_pair(pictures, mattes, trimaps=trimaps, facemasks=facemasks, name=name).dataset()


def scan_training(
    root: StrPath,
    *,
    faces: str = "blurred",
    foreground_cache: StrPath | None = None,
    facemasks: StrPath | None = None,
) -> Scan:
    """Scans `train/` under `root`, or the records at `root`; `DataSetError` if neither exists."""
    cache = {}
    if foreground_cache is not None:
        for role, folder in CACHE_FOLDERS.items():
            path = user_path(foreground_cache) / folder  # may be created later
            found = list_folder(path).files if path.is_dir() else {}
            cache[role] = {stem: file for stem, file in found.items() if is_written(file)}
    records = portrait_records(root, faces)
    if records is not None:
        name = "P3M-10k train" if records.name != FOLDER else records.config
        return _scan_records(records, name, "train", facemasks, cache)
    root, folders = _find(root, Path("train"), folder_names("train", faces))
    if facemasks is not None:
        folders["facemask"] = source_folder(facemasks)
    return _scan("P3M-10k train", root, folders, cache, published=facemasks is None)


def scan_test(
    root: StrPath, name: str, *, faces: str | None = None, facemasks: StrPath | None = None
) -> Scan:
    """Scans the folder of a test set, or records of it; `DataSetError` if neither exists."""
    if name not in TEST_FOLDERS:
        raise DataSetError(f"{name}: is not a test set; choose one of {', '.join(TEST_FOLDERS)}.")
    records = portrait_records(root, faces or "blurred")
    if records is not None:
        return _scan_records(records, name, name, facemasks, {})
    inside = Path() if name == "RealWorldPortrait-636" else Path("validation") / name
    root, folders = _find(root, inside, folder_names(name, faces))
    if facemasks is not None:
        folders["facemask"] = source_folder(facemasks)
    return _scan(name, root, folders, published="facemask" in folders and facemasks is None)


def scan_pair(
    pictures: StrPath,
    mattes: StrPath,
    *,
    trimaps: StrPath | None = None,
    facemasks: StrPath | None = None,
    name: str | None = None,
) -> Scan:
    """Scans a user's folders; raises `DataSetError` if one of them does not exist."""
    named = {"picture": pictures, "matte": mattes, "trimap": trimaps, "facemask": facemasks}
    folders = {role: source_folder(path) for role, path in named.items() if path is not None}
    root = folders["picture"]
    return _scan(name or root.resolve().name, root, folders)


def find_test_sets(root: StrPath) -> tuple[str, ...]:
    """Returns the names of the test sets under `root`."""
    root = user_path(root)
    records = portrait_records(root, "blurred")
    if records is not None:
        return tuple(name for name in TEST_FOLDERS if name in records.splits)
    places = {
        name: (root if name == "RealWorldPortrait-636" else root / "validation" / name) / picture
        for name, picture in ((name, parts["picture"]) for name, parts in TEST_FOLDERS.items())
    }
    return tuple(name for name, folder in places.items() if folder.is_dir())


def validation_sets(root: StrPath, faces: str) -> tuple[str, ...]:
    """Returns the names of the test sets in `root`/validation that have pictures with `faces`.

    `faces` is "blurred" or "normal".
    """
    place = user_path(root) / "validation"
    names = [name for name, parts in TEST_FOLDERS.items() if "trimap" in parts]
    pictures = {name: place / name / folder_names(name, faces)["picture"] for name in names}
    return tuple(name for name, folder in pictures.items() if folder.is_dir())


def is_synthetic(root: StrPath) -> bool:
    """Whether a folder contains portraits that this project drew."""
    return any((place / SYNTHETIC_MARK).is_file() for place in upwards(user_path(root)))


def _scan_records(
    records: Records,
    name: str,
    split: str,
    facemasks: StrPath | None,
    cache: dict[str, dict[str, Path]],
) -> Scan:
    found = records.files(split)
    files: dict[str, Mapping[str, Path | FilePart]]
    files = {role: found[role] for role in ROLES if role in found}
    unusable: list[str] = []
    left_out: list[str] = []
    for role in REQUIRED[:2]:
        files.setdefault(role, {})
    folders = dict.fromkeys(files, records.folder)
    if facemasks is not None:
        folders["facemask"] = source_folder(facemasks)
        files["facemask"], unusable, left_out = list_folder(folders["facemask"])
    published = facemasks is None and records.name != FOLDER
    synthetic = records.synthetic
    return Scan(
        *(name, records.folder, folders, files, tuple(unusable), synthetic, cache, published),
        left_out=tuple(left_out),
    )


def _scan(
    name: str,
    root: Path,
    folders: dict[str, Path],
    cache: dict[str, dict[str, Path]] | None = None,
    *,
    published: bool = False,
) -> Scan:
    files, unusable, left_out = {}, [], []
    for role, folder in folders.items():
        files[role], complaints, others = list_folder(folder)
        unusable += complaints
        left_out += others
    synthetic = is_synthetic(root)
    unfinished = [place for place in upwards(root) if (place / UNFINISHED_MARK).is_file()]
    if unfinished:
        unusable.insert(
            0,
            f"{unfinished[0]}: is an unfinished synthetic set; finish it with `p3m synthesize` and "
            "the same settings.",
        )
    synthetic |= bool(unfinished)
    return Scan(
        *(name, root, folders, files, tuple(unusable), synthetic, cache or {}, published),
        left_out=tuple(left_out),
    )


def _find(root: StrPath, inside: Path, names: dict[str, str]) -> tuple[Path, dict[str, Path]]:
    """Returns the root, and the existing folders by role; raises if a required one is missing."""
    place = user_path(root) / inside
    picture, normal = names["picture"], _NORMAL["picture"]
    others = {TRAINING_FOLDERS["picture"]: normal, normal: TRAINING_FOLDERS["picture"]}
    other = others.get(picture)
    both = inside.name != "P3M-500-NP"  # which is published only with ordinary faces
    if both and other and (place / other).is_dir() and not (place / picture).is_dir():
        faces = FACES[other == normal]
        raise DataSetError(
            f"{place}: holds {other} ({faces} faces) and no {picture}; use --faces {faces} "
            f"(in training: --config.data.faces={faces})."
        )
    root = find_root(root, inside / picture)
    return root, _present(root / inside, names)


def _present(base: Path, names: dict[str, str]) -> dict[str, Path]:
    folders = {role: base / name for role, name in names.items()}
    for role in REQUIRED:
        if role in folders and not folders[role].is_dir():
            raise DataSetError(
                f"{folders[role]}: there is no such folder, but {base} has other folders of the "
                "data set; unpack the archive again."
            )
    return {role: folder for role, folder in folders.items() if folder.is_dir()}
