"""Makes a set of real photos with clear faces, to measure privacy-preserving training (PPT).

    python benchmarks/own_network/make_ppt_set.py --photos CCP --backgrounds HDRI --made OUT -o PPT

OUT is the folder that make_set.py has written from the same photos. The pictures are made as there,
once with the face of the person obfuscated and once with it clear. Other faces, such as those of
passers-by, are obfuscated in both, so both differ only in the faces of the persons to be matted.

    PPT/train/{blurred_image,original_image,mask,facemask}
    PPT/validation/P3M-500-P/ with the same folders and trimap: an upper body from each held-out
    photo

A photo is held out by its name. **PPT shows clear faces of people who did not agree to it**: use it
only for the comparison, and keep it to yourself. No network that is published may be trained on it.
After an interruption, run the same command again to resume.

Exit code: 0 done, 1 something cannot be read or written, 2 wrong options, 130 interrupted.
"""

import argparse
import collections
import functools
import zlib
from pathlib import Path

import backgrounds
import make_set

from p3m_jax.commands import one_sentence_errors
from p3m_jax.errors import UserError
from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import trimap_from_matte
from p3m_jax.text import counted, say

HELD_OUT = 5  # one photo of so many is held out
TEST_SET, TEST_KIND = "validation/P3M-500-P", "upper1"


def split(stems: list[str]) -> tuple[list[str], list[str]]:
    """Returns the photos to train on and those to test on."""
    held_out = {stem for stem in stems if zlib.crc32(stem.encode()) % HELD_OUT == 0}
    return [stem for stem in stems if stem not in held_out], sorted(held_out)


def make_ppt_set(args: argparse.Namespace) -> None:
    """Makes both parts of the set and prints their counts."""
    work = args.made / "work"
    released = sorted(file.stem for file in (work / "anonymized" / "blurred_image").glob("*.jpg"))
    if not released:
        raise UserError(f"{args.made}: contains no photos by make_set.py; run that first.")
    backgrounds.read_panoramas(args.backgrounds)  # fails early
    train, test = split(make_set.usable(released, work)[: args.count])
    parts = {
        "train": make_set.names_of(train, args.composites),
        TEST_SET: [f"{stem}_{TEST_KIND}" for stem in test],
    }
    for part, names in parts.items():
        make = functools.partial(
            make_set.make_pictures,
            work=work,
            panoramas=args.backgrounds,
            out=args.output / part,
            clear=args.photos / "photos",
        )
        done = make_set.in_processes(args.workers, make, make_set.by_photo(names), part)
        collections.deque(done, 0)
    tests = args.output / TEST_SET
    for name in parts[TEST_SET]:
        matte = read_matte(tests / "mask" / f"{name}.png")
        write_image(tests / "trimap" / f"{name}.png", trimap_from_matte(matte))
    say(f"{counted(len(parts['train']), 'picture')} of {counted(len(train), 'photo')} to train on.")
    say(f"{counted(len(test), 'picture')} of other photos to test on.")


def main() -> None:
    """Parses the arguments and makes the set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="CCP")
    parser.add_argument("--backgrounds", type=Path, required=True, metavar="HDRI")
    parser.add_argument("--made", type=Path, required=True, metavar="OUT")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PPT")
    parser.add_argument("--composites", type=int, default=1, help="composites of each photo")
    parser.add_argument("--count", type=int, help="use only so many photos, to try the set")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    args = parser.parse_args()
    if args.workers < 1 or args.composites < 0:
        parser.error("--workers must be at least 1, --composites at least 0.")
    with one_sentence_errors():
        make_ppt_set(args)


if __name__ == "__main__":
    main()
