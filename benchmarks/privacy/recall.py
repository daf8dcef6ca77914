"""Measures how well faces are found and covered, and counts false alarms.

    python benchmarks/privacy/recall.py --faces FACES -o recall.json \\
        --without P3M/train/blurred_image P3M/validation/P3M-500-P/blurred_image SKIMAGE/data

FACES holds `faces.json` and `pictures/`; `checked.py` holds the corrections by a person. A face is:

- found if the area of a finding contains its centre and has half to twice its size;
- covered if all of its five points are in the private region;
- sure if the finding raises no doubt.

Every other finding is a false alarm. Folders (or files) after --without show no faces; SKIMAGE/data
is a folder of the package scikit-image.

Coverage is measured with points and outlines marked by hand (`marked_points.json`). They are
independent of the network that places the landmarks.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import checked
import cv2
import numpy as np
from conditions import CONDITIONS

from p3m_jax.errors import UserError
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
    """The number of faces, and the fractions of them that are found, covered and sure."""
    return {"faces": len(faces), **{key: sum(face[key] for face in faces) for key in KEYS}}


def coverage(finder, folder: Path, condition) -> dict[str, dict]:
    """For every marked face: the private fraction of its outline's area, and its private parts."""
    result = {}
    for name, parts in checked.marked_points().items():
        picture = read_picture(folder / "pictures" / name.partition("#")[0])
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
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        findings, count = {}, 0
        for file in files:
            if file.name in checked.PEOPLE_IN_SAMPLES or not file.is_file():
                continue
            try:
                picture = read_picture(file)
            except UserError:
                continue  # these folders also hold other files
            count += 1
            found = finder(picture)
            if found:
                findings[file.name] = [described(one) for one in found]
        result[str(place)] = {"pictures": count, "findings": findings}
    return result


def print_rates(title: str, table: dict[str, dict]) -> None:
    """Prints a table of rates."""
    print(f"\n{title:26}{'faces':>7}{'found':>9}{'covered':>9}{'sure':>9}")
    for name, row in table.items():
        shares = (row[key] / max(row["faces"], 1) for key in KEYS)
        print(f"{name:26}{row['faces']:7d}" + "".join(f"{share:9.3f}" for share in shares))


def main() -> int:
    """Measures, prints tables, and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, required=True, help="faces.json and pictures/")
    parser.add_argument(
        "--without", type=Path, nargs="*", default=[], help="pictures without faces"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON to write")
    options = parser.parse_args()

    finder, truths = FaceFinder(), checked.true_faces(options.faces)
    by_condition, by_size, by_group, details = {}, defaultdict(list), {}, {}
    for name, condition in CONDITIONS.items():
        faces, alarms, reviewed = measured(finder, options.faces, truths, condition)
        of_group = [face for face in faces if face["name"].startswith(checked.GROUP)]
        by_condition[name] = rates([face for face in faces if face not in of_group])
        by_group[name] = {
            "group of 29": rates(of_group),
            **{
                group: rates([face for face in faces if face["name"] in members])
                for group, members in GROUPS.items()
            },
        }
        if "turned" not in name and "light" not in name and name != "grey":
            for face in faces:
                by_size[int(np.searchsorted(EDGES, face["side"], side="right"))].append(face)
        details[name] = {
            "missed": [face["name"] for face in faces if not face["found"]],
            "uncovered": [face["name"] for face in faces if not face["covered"]],
            "doubtful": {face["name"]: face["doubtful"] for face in faces if face["doubtful"]},
            "false alarms": alarms,
            "pictures for review": reviewed,
        }
        print(
            f"{name}: {len(details[name]['missed'])} missed, "
            f"{len(details[name]['uncovered'])} not covered, {len(alarms)} false alarms, "
            f"{sum(not alarm['doubts'] for alarm in alarms)} of them sure; "
            f"{len(reviewed)} of {len(truths)} pictures for review",
            flush=True,
        )

    sizes = {
        f"{EDGES[number - 1]} to {EDGES[number]} px": rates(faces)
        for number, faces in sorted(by_size.items())
    }
    print_rates("without the group", by_condition)
    print(f"\n{'found, covered, sure of':26}" + "".join(f"{g:>16}" for g in by_group["native"]))
    for name, groups in by_group.items():
        counts = ("/".join(str(row[key]) for key in KEYS) for row in groups.values())
        print(f"{name:26}" + "".join(f"{count:>16}" for count in counts))
    print_rates("by size, all scales", sizes)

    covered = {name: coverage(finder, options.faces, CONDITIONS[name]) for name in COVERAGE}
    print(
        f"\n{'marked by hand':26}{'faces':>7}{'mean':>9}{'minimum':>9}  all of a part's points in"
    )
    for name, faces in covered.items():
        shares = [face["share"] for face in faces.values()]
        parts = ", ".join(
            f"{part} {sum(face.get(part, False) for face in faces.values())}"
            f"/{sum(part in face for face in faces.values())}"
            for part in ("eyes", "brows", "nose", "mouth", "chin", "outline")
        )
        print(f"{name:26}{len(faces):7d}{np.mean(shares):9.3f}{min(shares):9.3f}  {parts}")

    alarms = without_faces(finder, options.without)
    print(f"\n{'without faces':60}{'pictures':>9}{'sure':>6}{'doubtful':>10}")
    for place, row in alarms.items():
        findings = [one for found in row["findings"].values() for one in found]
        sure = sum(not one["doubts"] for one in findings)
        print(f"{place[-58:]:60}{row['pictures']:9d}{sure:6d}{len(findings) - sure:10d}")

    report = {
        "conditions": by_condition,
        "groups": by_group,
        "sizes": sizes,
        "details": details,
        "coverage": covered,
        "without faces": alarms,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
