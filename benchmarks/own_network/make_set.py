"""Makes a training set of public photos with obfuscated faces, in P3M-10k's layout.

    python benchmarks/own_network/make_set.py --photos CCP --backgrounds HDRI -o OUT

CCP is a copy of Clothing Co-Parsing, HDRI a folder of panoramas without people (README.md of this
folder names both). The stages, each of which skips what is done:

    mattes      OUT/work/mattes: from the hand-made masks, by closed-form matting
    faces       OUT/work/anonymized: `p3m anonymize`; photos that need review are left out
    pictures    OUT/set: parts of the photos, composites over other backgrounds, empty scenes

OUT/set is the data set for `--config.data.directory`. No picture in it comes from a photo before
its faces are obfuscated. The pictures that a run holds out for validation share no photo with the
others. After an interruption, run the same command again to resume.

Exit code: 0 done, 1 something cannot be read or written, 2 wrong options, 130 interrupted.
"""

import argparse
import collections
import functools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import backgrounds
import cv2
import mattes
import numpy as np
import scenes
from tqdm import tqdm

from p3m_jax import cli
from p3m_jax.commands import one_sentence_errors
from p3m_jax.data.sets import DataSet, Example, split_validation
from p3m_jax.errors import UserError
from p3m_jax.pictures.foreground import estimate_foreground
from p3m_jax.pictures.images import read_picture, write_image
from p3m_jax.pictures.labels import read_face_mask, read_matte
from p3m_jax.storage.files import write_text
from p3m_jax.text import counted, say

DROPPED = Path(__file__).with_name("dropped.txt")
HELD_OUT = 100  # as in `config.data.validation_pictures`
MOST_HIDDEN = 0.12  # of the person; a face is 2 to 5 %, more means clothes taken for a face
PARTS = ("whole", "upper1", "upper2")
FOLDERS = {"picture": ("blurred_image", ".jpg"), "matte": ("mask", ".png")}
FOLDERS |= {"facemask": ("facemask", ".png"), "clear": ("original_image", ".jpg")}


def read_classes(file: Path) -> np.ndarray:
    """The classes (H, W) in an annotation of Clothing Co-Parsing; raises `UserError`."""
    import scipy.io

    try:
        return np.asarray(scipy.io.loadmat(file)["groundtruth"])
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise UserError(f"{file}: is not an annotation ({error}). Copy the file again.") from None


def make_matte(annotation: Path, photos: Path, folder: Path) -> str:
    """Writes one matte; returns the reason for leaving it out, "" if it is usable."""
    cv2.setNumThreads(1)
    photo = photos / f"{annotation.stem}.jpg"
    if not photo.is_file():
        return "the photo is missing"
    alpha, reason = mattes.matte_of(read_picture(photo), read_classes(annotation))
    if not reason:
        write_image(folder / f"{annotation.stem}.png", alpha)
    return reason


def make_mattes(copy: Path, work: Path, each: Callable) -> list[Path]:
    """Makes the missing mattes; returns the photos that have one."""
    annotations = sorted((copy / "annotations" / "pixel-level").glob("*.mat"))
    if not annotations:
        raise UserError(f"{copy}: has no annotations/pixel-level/*.mat; name a copy of the set.")
    record = work / "mattes.json"
    reasons = json.loads(record.read_text()) if record.is_file() else {}
    missing = [file for file in annotations if file.stem not in reasons]
    make = functools.partial(make_matte, photos=copy / "photos", folder=work / "mattes")
    for number, (file, reason) in enumerate(each(make, missing, "mattes")):
        reasons[file.stem] = reason
        if number % 50 == 49:
            write_text(record, json.dumps(reasons, indent=0))
    write_text(record, json.dumps(reasons, indent=0))
    usable = [file.stem for file in annotations if not reasons[file.stem]]
    say(f"{counted(len(annotations), 'mask')}, {counted(len(usable), 'usable matte')}.")
    for stem, reason in reasons.items():
        if reason:
            say(f"  {stem}: {reason}")
    return [copy / "photos" / f"{stem}.jpg" for stem in usable]


def obfuscate_faces(photos: list[Path], work: Path, workers: int) -> list[str]:
    """Runs `p3m anonymize`; returns the stems of the photos that it passed on.

    It gets no mattes: with these it would keep the transition areas sharp. In faces as small as
    these, of 40 to 60 pixels, half of the eyes would stay clear, so half of the photos would need
    review. The result is recorded, because the command would search the photos that need review
    again. To run it again, for instance after a review, remove OUT/work/faces.json.
    """
    out, record = work / "anonymized", work / "faces.json"
    names = [photo.stem for photo in photos]
    done = json.loads(record.read_text()) if record.is_file() else {}
    if done.get("photos") == names:
        return done["passed"]
    options = ["--format", "jpg", "--workers", str(workers)]
    code = cli.main(["anonymize", *map(str, photos), "-o", str(out), *options])
    if code not in (0, 3):
        raise UserError(f"{out}: the faces could not be obfuscated; the lines above say why.")
    passed = [p.stem for p in photos if (out / "blurred_image" / p.name).is_file()]
    write_text(record, json.dumps({"photos": names, "passed": passed}))
    say(f"{counted(len(passed), 'photo')} passed on, {len(photos) - len(passed)} left out.")
    return passed


def face_problem(stem: str, work: Path) -> str:
    """Why the faces of a photo make it unusable; "" if they do not."""
    matte = read_matte(work / "mattes" / f"{stem}.png")
    faces = read_face_mask(work / "anonymized" / "facemask" / f"{stem}.png")
    if not scenes.own_face(faces, matte).any():
        return "no face in the person"  # seen from behind, or the mask lacks the head
    hidden = (faces[matte > 127] > 0).mean()
    return f"{hidden:.0%} of the person is obfuscated" if hidden > MOST_HIDDEN else ""


def dropped() -> dict[str, str]:
    """Photos that were reviewed and dropped: {stem: reason}."""
    lines = DROPPED.read_text(encoding="utf-8").splitlines() if DROPPED.is_file() else []
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def usable(stems: list[str], work: Path) -> list[str]:
    """Leaves out what was dropped by review or has unusable faces; prints each with its reason."""
    reasons = dropped()
    say(f"{counted(len(reasons.keys() & set(stems)), 'photo')} dropped by {DROPPED.name}.")
    stems = [stem for stem in stems if stem not in reasons]
    problems = {stem: face_problem(stem, work) for stem in stems}
    for stem, problem in problems.items():
        if problem:
            say(f"  {stem}: {problem}")
    stems = [stem for stem in stems if not problems[stem]]
    say(f"{counted(len(stems), 'photo')} to make pictures from.")
    return stems


def by_photo(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Groups the names of pictures by their photo; scenes without people have the photo ""."""
    groups = collections.defaultdict(list)
    for name in names:
        groups["" if name.startswith("empty") else photo_of(name)].append(name)
    return list(groups.items())


def photo_of(name: str) -> str:
    """The photo that a picture of the set was made from; an empty scene counts as its own."""
    return name if name.startswith("empty") else name.split("_")[0]


def names_of(stems: Iterable[str], composites: int) -> list[str]:
    """The names of all pictures that are made of these photos."""
    kinds = [*PARTS, *(f"over{number}" for number in range(1, composites + 1))]
    return [f"{stem}_{kind}" for stem in stems for kind in kinds]


def plan(stems: Iterable[str], composites: int, empty: int) -> list[str]:
    """The names of the set's pictures.

    A run holds out pictures by their names. Other pictures of the same photos are left out, so that
    training and validation share no photo. This does not change which ones are held out.
    """
    names = names_of(stems, composites)
    names += [f"empty{number:04}" for number in range(empty)]
    examples = tuple(Example(name, Path(name), Path(name)) for name in names)
    everything = DataSet("planned", Path(), examples, synthetic=False)
    if len(examples) < 2:
        raise UserError("No photo is left to make the set from.")
    _, held = split_validation(everything, HELD_OUT)
    held_out = {example.stem for example in held.examples}
    photos = {photo_of(name) for name in held_out}
    return [name for name in names if name in held_out or photo_of(name) not in photos]


def portrait_of(stem: str, work: Path) -> scenes.Portrait:
    """Returns a photo with obfuscated faces, its matte, and the mask of its person's own face."""
    made, matte = work / "anonymized", read_matte(work / "mattes" / f"{stem}.png")
    faces = read_face_mask(made / "facemask" / f"{stem}.png")
    picture = read_picture(made / "blurred_image" / f"{stem}.jpg")
    return scenes.Portrait(picture, matte, scenes.own_face(faces, matte))


def with_clear_face(portrait: scenes.Portrait, photo: np.ndarray) -> scenes.Portrait:
    """Puts the person's own face back, from the photo before its faces were obfuscated."""
    picture = np.where(portrait.facemask[..., None] > 0, photo, portrait.picture)
    return portrait._replace(picture=picture)


def make_pictures(
    group: tuple[str, list[str]],
    work: Path,
    panoramas: Path,
    out: Path,
    clear: Path | None = None,
) -> None:
    """Writes the missing pictures of one photo, or scenes without people, to the folder `out`.

    With `clear`, the folder of the photos before their faces were obfuscated, each picture is also
    written with the person's face clear.
    """
    cv2.setNumThreads(1)
    stem, names = group
    names = [name for name in names if not _file(out, "facemask", name).is_file()]
    if not names:
        return
    views = _panoramas(panoramas)
    versions = {"picture": portrait_of(stem, work) if stem else None}
    if stem and clear:
        photo = read_picture(clear / f"{stem}.jpg")
        versions["clear"] = with_clear_face(versions["picture"], photo)
    for role, portrait in versions.items():
        foreground = None
        if portrait and any("over" in name for name in names):
            foreground, _ = estimate_foreground(portrait.picture, portrait.matte)
        for name in names:
            scene = scenes.make_scene(name, portrait, foreground, views)
            write_image(_file(out, role, name), scene.picture)
            write_image(_file(out, "matte", name), scene.matte)
            if role == list(versions)[-1]:  # it marks the end
                write_image(_file(out, "facemask", name), scene.facemask)


def _file(out: Path, role: str, name: str) -> Path:
    folder, ending = FOLDERS[role]
    return out / folder / f"{name}{ending}"


_panoramas = functools.cache(backgrounds.read_panoramas)


def in_processes(workers: int, work: Callable, items: list, title: str) -> Iterator[tuple]:
    """Yields (item, result) in order, with a progress bar, from `workers` processes."""
    context = multiprocessing.get_context("spawn")  # a forked Numba may hang
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            results = pool.map(work, items)
            yield from tqdm(zip(items, results, strict=True), title, total=len(items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def make_set(args: argparse.Namespace) -> None:
    """Makes all stages and prints counts and seconds."""
    seconds, work, out = {}, args.output / "work", args.output / "set"
    each = functools.partial(in_processes, args.workers)
    backgrounds.read_panoramas(args.backgrounds)  # fails early

    def timed(stage, call, *values):
        start = time.monotonic()
        result = call(*values)
        seconds[stage] = time.monotonic() - start
        return result

    photos = timed("mattes", make_mattes, args.photos, work, each)[: args.count]
    released = timed("faces", obfuscate_faces, photos, work, args.workers)
    stems = usable(released, work)
    names = plan(stems, args.composites, args.empty)
    others = {file.stem for file in (out / "train" / "mask").glob("*.png")} - set(names)
    if others:
        raise UserError(
            f"{out}: holds {counted(len(others), 'picture')} of another plan, such as "
            f"{min(others)}; remove this folder, the work before it is kept."
        )
    make = functools.partial(
        make_pictures, work=work, panoramas=args.backgrounds, out=out / "train"
    )
    timed("pictures", lambda: collections.deque(each(make, by_photo(names), "pictures"), 0))
    kinds = collections.Counter(name.split("_")[-1].rstrip("0123456789") for name in names)
    say(", ".join(f"{count} {kind}" for kind, count in kinds.items()) + f": {len(names)} pictures.")
    say("Seconds: " + ", ".join(f"{stage} {spent:.0f}" for stage, spent in seconds.items()) + ".")


def main() -> None:
    """Parses the arguments and makes the set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="CCP")
    parser.add_argument("--backgrounds", type=Path, required=True, metavar="HDRI")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--composites", type=int, default=3, help="composites of each photo")
    parser.add_argument("--empty", type=int, default=200, help="number of scenes without people")
    parser.add_argument("--count", type=int, help="use only so many photos, to try the set")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    args = parser.parse_args()
    if args.workers < 1 or min(args.composites, args.empty) < 0:
        parser.error("--workers must be at least 1, --composites and --empty at least 0.")
    with one_sentence_errors():
        make_set(args)


if __name__ == "__main__":
    main()
