"""Measures how well faces are found and covered, and counts false alarms.

    python benchmarks/privacy_recall.py --faces FACES --json recall.json \\
        --without P3M/train/blurred_image P3M/validation/P3M-500-P/blurred_image SKIMAGE/data

FACES holds `faces.json` and `pictures/`; `privacy/checked.py` holds the corrections by a person. A
face is:

- found if the area of a finding contains its centre and has half to twice its size;
- covered if all of its five points are in the private region;
- sure if the finding raises no doubt.

Every other finding is a false alarm. Folders (or files) after --without show no faces; SKIMAGE/data
is a folder of the package scikit-image.

Coverage is measured with points and outlines marked by hand (`marked_points.json`). They are
independent of the network that places the landmarks.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

import command_line as cli
import cv2
import numpy as np
from privacy import checked, trial
from privacy.conditions import CONDITIONS

from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.region import label_map
from p3m_jax.pictures.images import read_picture

EDGES = (0, 16, 24, 48, 96, 192, np.inf)  # pixels, of the longer side of a face's box
COVERAGE = ("native", "long side 1080", "long side 512", "largest face 48 px", "turned 90")
KEYS = ("found", "covered", "sure")
GROUPS = {
    "half-profile": checked.HALF_PROFILE,
    "glasses": checked.GLASSES,
    "hat": checked.HAT,
}
GROUPS_TITLES = tuple(f"{name}: found/covered/sure" for name in ("group of 29", *GROUPS))
PARTS = ("eyes", "brows", "nose", "mouth", "chin", "outline")


def moved(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Maps points (N, 2) by an affine map (2, 3)."""
    return points @ affine[:, :2].T + affine[:, 2]


def inside(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether points (N, 2) are in the private region; true for points outside the picture."""
    x, y = np.rint(points).astype(int).T
    height, width = labels.shape
    beyond = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    return beyond | (labels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0)


def judged(found, truths, to_changed, size) -> tuple[list[dict], list[dict]]:
    """The result for every true face, and the findings that match no true face."""
    labels = label_map([one.polygon for one in found], size)
    scale = np.sqrt(abs(np.linalg.det(to_changed[:, :2])))
    faces, matched = [], set()
    for truth in truths:
        points = moved(truth.points, to_changed)
        side = scale * max(truth.box[2:])
        hits = [
            number
            for number, one in enumerate(found)
            if cv2.pointPolygonTest(one.polygon, tuple(map(float, points.mean(0))), False) >= 0
            and 0.5 <= np.ptp(one.polygon, axis=0).max() / side <= 2
        ]
        matched.update(hits)
        faces.append(
            {
                "name": truth.name,
                "side": float(side),
                "found": bool(hits),
                "covered": bool(inside(points, labels).all()),
                "sure": any(not found[number].doubts for number in hits),
                "doubtful": [described(found[n]) for n in hits if found[n].doubts],
            }
        )
    return faces, [described(one) for number, one in enumerate(found) if number not in matched]


def described(one) -> dict:
    """The numbers of a finding."""
    return {
        "box": [round(value) for value in one.face.box],
        "score": round(one.face.score, 3),
        "presence": round(one.landmarks.presence, 3),
        "disagreement": round(one.landmarks.disagreement, 3),
        "doubts": list(one.doubts),
    }


def measured(finder, folder: Path, truths: dict, condition) -> tuple[list, list, list]:
    """Faces, false alarms and the pictures that need review, under a condition."""
    faces, false_alarms, reviewed = [], [], []
    for file, there in truths.items():
        picture = read_picture(folder / "pictures" / file)
        side = max(max(truth.box[2:]) for truth in there)
        changed, to_changed = condition(picture, side)
        found = finder(changed)
        judgements, others = judged(found, there, to_changed, changed.shape[:2])
        faces += judgements
        false_alarms += [{"file": file, **other} for other in others]
        if any(one.doubts for one in found):
            reviewed.append(file)
    return faces, false_alarms, reviewed


def rates(faces: list[dict]) -> dict:
    """The numbers of faces, and of those that are found, covered and sure."""
    return {"faces": len(faces), **{key: sum(face[key] for face in faces) for key in KEYS}}


def coverage(finder, folder: Path, condition) -> dict[str, dict]:
    """For every marked face: the private fraction of its outline's area, and its private parts."""
    result = {}
    for name, parts in checked.marked_points().items():
        file = folder / "pictures" / name.partition("#")[0]
        if not file.exists():
            continue  # another collection
        picture = read_picture(file)
        every = np.concatenate(list(parts.values()))
        # The hull of the marked points is smaller than the detector's box, which includes the
        # forehead.
        changed, to_changed = condition(picture, 1.25 * np.ptp(every, axis=0).max())
        labels = label_map([one.polygon for one in finder(changed)], changed.shape[:2])
        hull = cv2.convexHull(moved(every, to_changed).astype(np.float32))
        outline = cv2.fillPoly(np.zeros_like(labels), [np.rint(hull).astype(np.int32)], 1) > 0
        result[name] = {
            "share": float((labels[outline] > 0).mean()),
            **{
                part: bool(inside(moved(points, to_changed), labels).all())
                for part, points in parts.items()
                if len(points)
            },
        }
    return result


def without_faces(finder, places: list[Path]) -> dict[str, dict]:
    """The findings on pictures without faces, by folder."""
    result = {}
    for place in places:
        findings, count = {}, 0
        for file, picture in checked.without_people([place]):
            count += 1
            found = finder(picture)
            if found:
                findings[file.name] = [described(one) for one in found]
        result[str(place)] = {"pictures": count, "findings": findings}
    return result


def under(condition: str, finder, folder: Path, truths: dict) -> tuple[dict, list[dict]]:
    """The row of a condition, and its faces."""
    faces, alarms, reviewed = measured(finder, folder, truths, CONDITIONS[condition])
    group = [face for face in faces if face["name"].startswith(checked.GROUP)]
    groups = {"group of 29": group} | {
        name: [face for face in faces if face["name"] in members]
        for name, members in GROUPS.items()
    }
    row = {"condition": condition} | rates([face for face in faces if face not in group])
    row |= {
        "groups": {name: rates(members) for name, members in groups.items()},
        "missed": [face["name"] for face in faces if not face["found"]],
        "uncovered": [face["name"] for face in faces if not face["covered"]],
        "doubtful": {face["name"]: face["doubtful"] for face in faces if face["doubtful"]},
        "false alarms": alarms,
        "pictures for review": reviewed,
    }
    return row, faces


def main(argv: list[str] | None = None) -> None:
    """Measures and prints tables."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--faces", type=Path, help="faces.json and pictures/")
    parser.add_argument(
        "--without", type=Path, nargs="*", default=[], help="pictures without faces"
    )
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    args = cli.parse(parser, argv, conditions=["native", "largest face 48 px"])
    finder = FaceFinder()
    with tempfile.TemporaryDirectory() as scratch:
        if args.faces is None and not args.quick:
            cli.refuse("--faces: a folder with faces.json and pictures/ is needed.")
        folder = args.faces or trial.write_faces(Path(scratch), finder)
        truths = checked.true_faces(folder)
        rows, by_size = [], defaultdict(list)
        alarms = "false alarms", "of them sure", "pictures for review"
        table = cli.Table("condition", "faces", *KEYS, *GROUPS_TITLES, *alarms)
        for name in args.conditions:
            row, faces = under(name, finder, folder, truths)
            rows.append(row)
            if "turned" not in name and "light" not in name and name != "grey":
                for face in faces:
                    by_size[int(np.searchsorted(EDGES, face["side"], side="right"))].append(face)
            groups = ("/".join(str(of[key]) for key in KEYS) for of in row["groups"].values())
            sure = sum(not alarm["doubts"] for alarm in row["false alarms"])
            counted = len(row["false alarms"]), sure, len(row["pictures for review"])
            table.row(name, row["faces"], *(row[key] for key in KEYS), *groups, *counted)
        covered = {
            name: coverage(finder, folder, CONDITIONS[name])
            for name in COVERAGE
            if name in args.conditions
        }

    print()
    table = cli.Table("side of the face, all sizes", "faces", *KEYS)
    sizes = {
        f"{EDGES[number - 1]} to {EDGES[number]} px": rates(faces)
        for number, faces in sorted(by_size.items())
    }
    for name, row in sizes.items():
        table.row(name, *row.values())
    print()
    table = cli.Table("marked by hand", "faces", "mean", "minimum", *(f"all of {p}" for p in PARTS))
    for name, faces in covered.items():
        shares = [face["share"] for face in faces.values()]
        parts = (
            f"{sum(face.get(part, False) for face in faces.values())} of "
            f"{sum(part in face for face in faces.values())}"
            for part in PARTS
        )
        summary = (f"{np.mean(shares):.3f}", f"{min(shares):.3f}") if shares else ("", "")
        table.row(name, len(faces), *summary, *parts)
    print()
    alarms = without_faces(finder, args.without)
    table = cli.Table("without faces", "pictures", "sure", "doubtful")
    for place, row in alarms.items():
        findings = [one for found in row["findings"].values() for one in found]
        sure = sum(not one["doubts"] for one in findings)
        table.row(place, row["pictures"], sure, len(findings) - sure)
    cli.write_report(args, rows, sizes=sizes, coverage=covered, without_faces=alarms)


if __name__ == "__main__":
    cli.run(main)
