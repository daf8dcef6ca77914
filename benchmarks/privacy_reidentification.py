"""An attack on obfuscated faces: identifies people among those whose pictures the attacker has.

    git -C DEEPFACE archive HEAD tests/unit/dataset | tar -x -C PICTURES --strip-components 3
    git -C CONGRESS archive HEAD images | tar -x -C DISTRACTORS --strip-components 1
    python benchmarks/privacy_reidentification.py --people PICTURES --distractors DISTRACTORS \\
        --recognizers sface dlib --json reidentification.json

DEEPFACE is a clone of serengil/deepface, whose test pictures show 13 people in 61 pictures. The
tables master.csv and face-recognition-pivot.csv next to them list pairs of pictures that show the
same person. Pictures that are linked by such pairs count as one person (`identities`; a person has
checked this). CONGRESS is a clone of Hainish/congress-images-225x275: 879 portraits of as many
other people.

Every picture of the 13 people is a probe once. The gallery holds their other pictures and the
distractors. A probe is re-identified (rank 1) if the nearest picture in the gallery shows the same
person; several equally near ones count in fractions. The attacks are:

- parrot: the gallery is obfuscated in the same way as the probe. Faces are aligned by points found
  on the clear pictures, so a failing detector protects nobody.
- naive: the gallery is clear.
- people: like parrot, without distractors. The distractors are portraits of one studio, so hair and
  background distinguish them from press pictures; this attack shows how much that contributes.

With "all", the recognizer sees the whole obfuscated picture. With "region", everything that is not
obfuscated is grey, so only the private region and its outline remain; the variant "fill" is the
control for the outline. "over fill" is the parrot's rate minus its rate with "fill", with a 95 %
interval over people.
"""

import csv
import sys
import tempfile
from pathlib import Path

import command_line as cli
import numpy as np
from privacy import trial
from privacy.recognizers import RECOGNIZERS, aligned

from p3m_jax.faces.finding import FaceFinder, FoundFace
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.faces.region import label_map
from p3m_jax.pictures.images import read_picture

CLEAR = "none"
VARIANTS: dict[str, Obfuscation | None] = {
    CLEAR: None,
    **{f"blur {s:g}": Obfuscation("blur", s) for s in (0.04, 0.08, 0.12, 0.16, 0.2, 0.3, 0.4)},
    **{f"mosaic {s:.4g}": Obfuscation("mosaic", s) for s in (1 / 16, 1 / 8, 0.2)},
    "fill": Obfuscation("fill"),
}
VIEWS = ("all", "region")
_GREY = 128
_EQUAL = 1e-6  # cosines that differ by less count as equal


def identities(folder: Path) -> dict[str, int]:
    """The number of the person in every picture that the folder's two tables name."""
    joined: dict[str, str] = {}

    def root(name):
        while joined.setdefault(name, name) != name:
            name = joined[name]
        return name

    for table in ("master.csv", "face-recognition-pivot.csv"):
        with (folder / table).open(newline="") as file:
            next(rows := csv.reader(file))
            for one, other, decision, *_ in rows:
                first, second = root(Path(one).name), root(Path(other).name)
                if decision.strip() == "Yes":
                    joined[first] = second
    people = sorted({root(name) for name in joined})
    return {name: people.index(root(name)) for name in sorted(joined)}


def main_face(found: list[FoundFace]) -> FoundFace | None:
    """The main face of a portrait: the largest of those that raise the fewest doubts."""
    return min(found, key=lambda one: (len(one.doubts), -max(one.face.box[2:])), default=None)


def views_of(picture, found, recognizers) -> dict[tuple[str, str, str], np.ndarray]:
    """The squares of a picture that the recognizers see, by recognizer, variant and view."""
    face = main_face(found)
    labels = label_map([one.polygon for one in found], picture.shape[:2])
    squares = {}
    for variant, obfuscation in VARIANTS.items():
        seen = picture if obfuscation is None else obfuscate(picture, labels, obfuscation)
        for view in VIEWS:
            if view == "region":
                seen = np.where(labels[..., None] > 0, seen, np.uint8(_GREY))
            for name, recognizer in recognizers.items():
                points = recognizer.points(face)
                squares[name, variant, view] = aligned(seen, points, recognizer)
    return squares


def embedded(files: list[Path], finder, recognizers) -> tuple[list[str], dict, list[str]]:
    """Computes the vectors of all faces, by recognizer, variant and view.

    Returns the names of the files with a face, the vectors, and the names of the files without a
    face.
    """
    names, vectors, faceless = [], {}, []
    for number, file in enumerate(files):
        picture = read_picture(file)
        found = finder(picture)
        if not found:
            faceless.append(file.name)
            continue
        names.append(file.name)
        for key, square in views_of(picture, found, recognizers).items():
            vectors.setdefault(key, []).append(recognizers[key[0]].embed(square[None])[0])
        if number % 100 == 99:
            print(f"{number + 1} of {len(files)} pictures", file=sys.stderr, flush=True)
    return names, {key: np.array(values) for key, values in vectors.items()}, faceless


def hits(probes, gallery, people, gallery_people) -> np.ndarray:
    """The fraction of each probe's nearest pictures that show its person, float64 (N,).

    Probe i is picture i of the gallery, and is left out of the gallery for itself. `people` and
    `gallery_people` hold numbers of persons; those of probes are at least 0.
    """
    cosines = probes @ gallery.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines >= cosines.max(1, keepdims=True) - _EQUAL
    same = people[:, None] == gallery_people[None]
    return (nearest & same).sum(1) / nearest.sum(1)


def interval(values: np.ndarray, people: np.ndarray, draws: int) -> tuple[float, float]:
    """The 95 % interval of means over people drawn with replacement, with all of their pictures."""
    noise = np.random.default_rng(0)
    of_person = [values[people == person] for person in np.unique(people)]
    means = []
    for _ in range(draws):
        drawn = noise.integers(len(of_person), size=len(of_person))
        means.append(np.concatenate([of_person[number] for number in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def attacks(
    ours: dict, others: dict, people: np.ndarray, recognizer: str, draws: int
) -> list[dict]:
    """Makes a row for every variant and view."""
    everybody = np.concatenate([people, np.full(len(others[recognizer, CLEAR, "all"]), -1)])
    rows, fill = [], {}
    for variant in reversed(VARIANTS):  # starts with fill, because the others are compared with it
        for view in reversed(VIEWS):
            key, clear = (recognizer, variant, view), (recognizer, CLEAR, view)
            galleries = {
                "parrot": (np.concatenate([ours[key], others[key]]), everybody),
                "naive": (np.concatenate([ours[clear], others[clear]]), everybody),
                "people": (ours[key], people),
            }
            row = {"recognizer": recognizer, "variant": variant, "view": view}
            for attack, (gallery, of_whom) in galleries.items():
                found = hits(ours[key], gallery, people, of_whom)
                row[attack] = float(found.mean())
                row[f"{attack} interval"] = interval(found, people, draws)
                difference = found - fill.setdefault((attack, view), found)
                row[f"{attack} over fill"] = [
                    float(difference.mean()),
                    *interval(difference, people, draws),
                ]
            rows.append(row)
    return rows[::-1]


def chance(people: np.ndarray, others: int) -> float:
    """Rank 1 by guessing: the mean fraction of the gallery that shows the probe's person."""
    same = (people[:, None] == people[None]).sum(1) - 1
    return float((same / (len(people) - 1 + others)).mean())


def main(argv: list[str] | None = None) -> None:
    """Runs the attacks and prints a table."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--people", type=Path, help="pictures and the two tables")
    parser.add_argument("--distractors", type=Path, help="pictures of other people")
    parser.add_argument("--recognizers", nargs="+", choices=RECOGNIZERS, default=["sface"])
    parser.add_argument("--limit", type=int, help="use at most this many distractors")
    parser.add_argument("--draws", type=int, default=2000, help="draws of people for an interval")
    args = cli.parse(parser, argv, draws=10)
    finder = FaceFinder()
    recognizers = {name: RECOGNIZERS[name]() for name in args.recognizers}
    with tempfile.TemporaryDirectory() as scratch:
        if args.people and args.distractors:
            people, others = args.people, args.distractors
        elif args.quick:
            people, others = trial.write_people(Path(scratch))
        else:
            cli.refuse("--people and --distractors: two folders of pictures are needed.")
        whose = identities(people)
        files = [people / name for name in whose]
        names, ours, faceless = embedded(files, finder, recognizers)
        distractors = sorted(others.glob("*.jpg"))[: args.limit]
        _, theirs, faceless_others = embedded(distractors, finder, recognizers)

    people = np.array([whose[name] for name in names])
    count = len(distractors) - len(faceless_others)
    guesses = {"with distractors": chance(people, count), "people": chance(people, 0)}
    print(
        f"{len(people)} probes of {len(set(people.tolist()))} people, {count} distractors; no face "
        f"found in {[*faceless, *faceless_others]}\nrank 1 by chance: "
        f"{guesses['with distractors']:.4f}, without distractors {guesses['people']:.3f}"
    )
    rows = [row for name in recognizers for row in attacks(ours, theirs, people, name, args.draws)]
    titles = "recogniser", "variant", "view", "parrot", "95 %", "over fill", "95 %"
    table = cli.Table(*titles, "naive", "people")
    for row in rows:
        more, *interval_of_it = row["parrot over fill"]
        table.row(
            *(row[key] for key in ("recognizer", "variant", "view")),
            f"{row['parrot']:.3f}",
            "{:.3f} to {:.3f}".format(*row["parrot interval"]),
            f"{more:+.3f}",
            "{:+.3f} to {:+.3f}".format(*interval_of_it),
            f"{row['naive']:.3f}",
            f"{row['people']:.3f}",
        )
    left_out = [*faceless, *faceless_others]
    told = {"probes": names, "people": people.tolist(), "faceless": left_out, "chance": guesses}
    cli.write_report(args, rows, distractors=count, **told)


if __name__ == "__main__":
    cli.run(main)
