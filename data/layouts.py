"""What a data set on disk is: which folders hold its pictures, mattes and what belongs to them.

P3M-10k comes in two forms, told apart by what is there: the older archive has
`train/{blurred_image,mask}`, the one of 2024 adds `fg_blurred`, `bg` and `facemask`. Test sets are
`validation/P3M-500-P`, `validation/P3M-500-NP` and the separate RealWorldPortrait-636. Sets of
one's own may hold pictures with ordinary faces, too: `original_image` beside `blurred_image` or in
its place, and `fg` for `fg_blurred`. In every folder the files are matched by stem. A folder is
first scanned (`Scan`: what is there, what is wrong), and only a complete scan becomes a `DataSet`;
the check before a run reads the same scans. A folder of records (see `data/records.py`) stands for
the layout that it was written from: its scans are the same, their files parts of shards.
"""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

from p3m_jax.data.folders import (
    ENDINGS,
    DataSetError,
    find_root,
    list_folder,
    name_some,
    picture_folder,
    upwards,
    user_path,
)
from p3m_jax.data.records import FOLDER, Records, portrait_records
from p3m_jax.storage.file_part import FilePart

SYNTHETIC_MARK = "SYNTHETIC.json"
UNFINISHED_MARK = "SYNTHETIC.unfinished.json"  # stands while a synthetic set is being written

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
# What P3M-10k publishes, and what only the owner of the pictures has.
FACES = ("blurred", "normal")
_NORMAL = {"picture": "original_image", "foreground": "fg"}
CACHE_FOLDERS = {"foreground": "fg", "background": "bg"}
# Without these a picture is of no use; the others may be absent, picture by picture.
REQUIRED = ("picture", "matte", "trimap")


@dataclass(frozen=True)
class Example:
    """One picture and the files that belong to it, all of its size.

    `private` is no file of a data set but of a cache: the label map of the private areas, which
    have to be obfuscated before anything else sees the picture (see `p3m_jax.faces.areas`).
    `published`: the face mask is P3M-10k's own, of which only the first of several channels counts.
    """

    stem: str
    picture: Path | FilePart
    matte: Path | FilePart
    trimap: Path | FilePart | None = None
    foreground: Path | FilePart | None = None
    background: Path | FilePart | None = None
    facemask: Path | FilePart | None = None
    private: Path | None = None
    published: bool = False


@dataclass(frozen=True)
class DataSet:
    """A complete set of examples, sorted by stem; `synthetic` if no camera ever saw them.

    `left_out` has sentences about what its folders hold and is not read.
    """

    name: str
    root: Path
    examples: tuple[Example, ...]
    synthetic: bool
    left_out: tuple[str, ...] = ()


_NO_ROLES = ("stem", "private", "published")
ROLES = tuple(part.name for part in fields(Example) if part.name not in _NO_ROLES)


def folder_names(part: str, faces: str | None = None) -> dict[str, str]:
    """The folders of "train" or of a test set by role.

    `faces` is "blurred" or "normal"; None is what P3M-10k publishes: blurred ones, but in
    P3M-500-NP, which has no others.
    """
    names = TRAINING_FOLDERS if part == "train" else TEST_FOLDERS[part]
    if faces != "normal":
        return names
    kept = {role: folder for role, folder in _NORMAL.items() if role in names}
    return names | kept if names["picture"] == TRAINING_FOLDERS["picture"] else names


@dataclass(frozen=True)
class Scan:
    """What the folders of one set hold, complete or not.

    `folders` and `files` go by role (the field names of `Example`); `files[role]` maps stems to
    files. `unusable` holds sentences about files that cannot be assigned; `published` is as in
    `Example`.
    """

    name: str
    root: Path
    folders: dict[str, Path]
    files: dict[str, dict[str, Path | FilePart]]
    unusable: tuple[str, ...] = ()
    synthetic: bool = False
    cache: dict[str, dict[str, Path]] = field(default_factory=dict)
    published: bool = False
    left_out: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """One sentence for everything that makes the set unusable; empty if it is complete."""
        pictures, found = self.files["picture"], list(self.unusable)
        if not pictures:
            found.append(
                f"{self.folders['picture']}: holds no pictures; name the folder that holds the "
                f"data set ({', '.join(ENDINGS)} are read)."
            )
        for role in REQUIRED[1:]:
            if role in self.folders:
                missing = pictures.keys() - self.files[role].keys()
                if missing:
                    found.append(
                        f"{self.folders[role]}: {name_some(missing)} of {self.folders['picture']} "
                        f"without {role}; add what is missing or take these pictures out."
                    )
        extra = self.files["matte"].keys() - pictures.keys()
        if extra:
            found.append(
                f"{self.folders['picture']}: {name_some(extra)} of {self.folders['matte']} without "
                "picture; unpack the pictures again or take these mattes out."
            )
        return found

    def examples(self) -> tuple[Example, ...]:
        """The examples with all required files, sorted by stem."""
        required = [self.files[role] for role in REQUIRED if role in self.folders]
        stems = set.intersection(*(set(files) for files in required))
        return tuple(self._example(stem) for stem in sorted(stems))

    def _example(self, stem: str) -> Example:
        parts = {role: files.get(stem) for role, files in self.files.items()}
        pair = ("foreground", "background")
        # Foreground and background are estimated together: half a pair must not meet another half.
        if not all(parts.get(role) for role in pair):
            cached = {role: self.cache.get(role, {}).get(stem) for role in pair}
            parts |= cached if all(cached.values()) else dict.fromkeys(pair)
        return Example(stem=stem, **parts, published=self.published)

    def dataset(self) -> DataSet:
        """The complete set; raises `DataSetError` with the first problem if it is not complete."""
        problems = self.problems()
        if problems:
            more = f" ({len(problems) - 1} more: run `p3m check`.)" if len(problems) > 1 else ""
            raise DataSetError(problems[0] + more)
        return DataSet(self.name, self.root, self.examples(), self.synthetic, self.left_out)


def training_set(root, *, faces="blurred", foreground_cache=None, facemasks=None) -> DataSet:
    """The training set of P3M-10k at `root`, the folder that holds `train/`.

    `faces` says which pictures: "blurred" ones, or "normal" ones from `original_image`.
    Foreground and background come from the archive where both are there, else from
    `foreground_cache`/{fg,bg} where both are there, else they are None. `facemasks` names a folder
    of face masks that stands apart from the archive. Raises `DataSetError`.
    """
    return scan_training(
        root, faces=faces, foreground_cache=foreground_cache, facemasks=facemasks
    ).dataset()


def test_set(root, name: str, *, faces=None, facemasks=None) -> DataSet:  # noqa: PT028
    """The test set `name`: "P3M-500-P", "P3M-500-NP" or "RealWorldPortrait-636".

    `faces` "normal" takes the pictures of P3M-500-P from `original_image`, which is not published.

    `root` is P3M-10k (the folder that holds `validation/`), for RealWorldPortrait-636 that set's
    own folder (it holds `image/` and `alpha/`, and has no trimaps). Raises `DataSetError`.
    """
    return scan_test(root, name, faces=faces, facemasks=facemasks).dataset()


test_set.__test__ = False  # not a test, whatever pytest concludes from the name


def folder_pair(
    pictures, mattes, *, trimaps=None, facemasks=None, name: str | None = None
) -> DataSet:
    """A user's pictures and mattes of the same stems, optionally trimaps and face masks.

    The name defaults to that of the folder of pictures. Raises `DataSetError`.
    """
    return scan_pair(pictures, mattes, trimaps=trimaps, facemasks=facemasks, name=name).dataset()


def scan_training(root, *, faces="blurred", foreground_cache=None, facemasks=None) -> Scan:
    """What `train/` under `root` holds, or the records at `root`; `DataSetError` without either."""
    cache = {}
    if foreground_cache is not None:
        for role, folder in CACHE_FOLDERS.items():
            path = user_path(foreground_cache) / folder  # may come into being later
            found = list_folder(path).files if path.is_dir() else {}
            # A machine that went down may leave empty files; estimating makes them anew.
            cache[role] = {stem: file for stem, file in found.items() if file.stat().st_size}
    records = portrait_records(root, faces)
    if records is not None:
        name = "P3M-10k train" if records.name != FOLDER else records.config
        return _scan_records(records, name, "train", facemasks, cache)
    root, folders = _find(root, Path("train"), folder_names("train", faces))
    if facemasks is not None:
        folders["facemask"] = picture_folder(facemasks)
    return _scan("P3M-10k train", root, folders, cache, published=facemasks is None)


def scan_test(root, name: str, *, faces=None, facemasks=None) -> Scan:
    """What the folder of a test set holds, or records do; `DataSetError` without either."""
    if name not in TEST_FOLDERS:
        raise DataSetError(f"{name}: is no test set; choose {', '.join(TEST_FOLDERS)}.")
    records = portrait_records(root, faces or "blurred")
    if records is not None:
        return _scan_records(records, name, name, facemasks, {})
    inside = Path() if name == "RealWorldPortrait-636" else Path("validation") / name
    root, folders = _find(root, inside, folder_names(name, faces))
    if facemasks is not None:
        folders["facemask"] = picture_folder(facemasks)
    return _scan(name, root, folders, published="facemask" in folders and facemasks is None)


def scan_pair(pictures, mattes, *, trimaps=None, facemasks=None, name: str | None = None) -> Scan:
    """What a user's folders hold; raises `DataSetError` where one of them is no folder."""
    named = {"picture": pictures, "matte": mattes, "trimap": trimaps, "facemask": facemasks}
    folders = {role: picture_folder(path) for role, path in named.items() if path is not None}
    root = folders["picture"]
    return _scan(name or root.resolve().name, root, folders)


def test_sets(root) -> tuple[str, ...]:
    """The names of the test sets that stand under `root`."""
    root = user_path(root)
    records = portrait_records(root, "blurred")
    if records is not None:
        return tuple(name for name in TEST_FOLDERS if name in records.splits)
    places = {
        name: (root if name == "RealWorldPortrait-636" else root / "validation" / name) / picture
        for name, picture in ((name, parts["picture"]) for name, parts in TEST_FOLDERS.items())
    }
    return tuple(name for name, folder in places.items() if folder.is_dir())


test_sets.__test__ = False


def validation_sets(root, faces: str) -> tuple[str, ...]:
    """Of the test sets below `validation/` of a folder those with pictures of these `faces`."""
    place = user_path(root) / "validation"
    names = [name for name, parts in TEST_FOLDERS.items() if "trimap" in parts]
    pictures = {name: place / name / folder_names(name, faces)["picture"] for name in names}
    return tuple(name for name, folder in pictures.items() if folder.is_dir())


def is_synthetic(root) -> bool:
    """True for a folder of portraits that this project drew."""
    return any((place / SYNTHETIC_MARK).is_file() for place in upwards(user_path(root)))


def split_validation(dataset: DataSet, count: int) -> tuple[DataSet, DataSet]:
    """Splits a training set into (train, validation), the latter for model selection.

    The pictures whose stems have the smallest SHA-256 are held out: the same ones on every machine,
    unrelated to their order, and hardly any others when pictures come or go. `count` of them, at
    most an eighth of the set and at least one.
    """
    if len(dataset.examples) < 2:
        raise DataSetError(
            f"{dataset.root}: {dataset.name} has {len(dataset.examples)} picture(s), too few to "
            "hold one out for validation; add pictures."
        )
    count = max(1, min(count, len(dataset.examples) // 8))
    ranked = sorted(
        dataset.examples,
        key=lambda e: hashlib.sha256(e.stem.encode("utf-8", "surrogateescape")).digest(),
    )
    held_out = {example.stem for example in ranked[:count]}

    def part(name: str, held: bool) -> DataSet:
        chosen = tuple(e for e in dataset.examples if (e.stem in held_out) is held)
        return DataSet(name, dataset.root, chosen, dataset.synthetic)

    return part(dataset.name, False), part(f"{dataset.name}, held out", True)


def _scan_records(records: Records, name: str, split: str, facemasks, cache) -> Scan:
    files, unusable, left_out = records.files(split), [], []
    files = {role: files[role] for role in ROLES if role in files}
    for role in REQUIRED[:2]:
        files.setdefault(role, {})
    folders = dict.fromkeys(files, records.folder)
    if facemasks is not None:
        folders["facemask"] = picture_folder(facemasks)
        files["facemask"], unusable, left_out = list_folder(folders["facemask"])
    published = facemasks is None and records.name != FOLDER
    synthetic = records.synthetic
    return Scan(
        *(name, records.folder, folders, files, tuple(unusable), synthetic, cache, published),
        left_out=tuple(left_out),
    )


def _scan(
    name: str, root: Path, folders: dict[str, Path], cache=None, *, published: bool = False
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
            f"{unfinished[0]}: is a synthetic set that was not written to its end; finish it with "
            "`p3m synthesize`, with the same settings.",
        )
    synthetic |= bool(unfinished)
    return Scan(
        *(name, root, folders, files, tuple(unusable), synthetic, cache or {}, published),
        left_out=tuple(left_out),
    )


def _find(root, inside: Path, names: dict[str, str]) -> tuple[Path, dict[str, Path]]:
    """The root and the folders that are there by role; the required ones must be."""
    place = user_path(root) / inside
    picture, normal = names["picture"], _NORMAL["picture"]
    others = {TRAINING_FOLDERS["picture"]: normal, normal: TRAINING_FOLDERS["picture"]}
    other = others.get(picture)
    both = inside.name != "P3M-500-NP"  # which is published with ordinary faces alone
    if both and other and (place / other).is_dir() and not (place / picture).is_dir():
        faces = FACES[other == normal]
        raise DataSetError(
            f"{place}: holds {other} ({faces} faces) and no {picture}; ask for {faces} faces "
            f"(--config.data.faces={faces} in training)."
        )
    root = find_root(root, inside / picture)
    return root, _present(root / inside, names)


def _present(base: Path, names: dict[str, str]) -> dict[str, Path]:
    folders = {role: base / name for role, name in names.items()}
    for role in REQUIRED:
        if role in folders and not folders[role].is_dir():
            raise DataSetError(
                f"{folders[role]}: there is no such folder, though {base} has others of the data "
                "set; unpack the archive again."
            )
    return {role: folder for role, folder in folders.items() if folder.is_dir()}
