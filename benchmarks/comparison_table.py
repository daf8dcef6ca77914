"""Makes the table of `compare.py` from the reports of the benchmarks, one line per measured thing.

A line is a dictionary. `what` names the thing that was measured. `ours`, `theirs` and `best` hold
the figures of each side, or None if the side was not measured. `times` holds their time divided by
ours, by side and by "seconds" and "cpu". `goal` is {"times": N}, to be N times as fast as the
authors' program with its fastest settings, or {"seconds": N}, to take no longer than that.
"""

import itertools

FIGURES = tuple(f"{key}{end}" for key in ("seconds", "cpu") for end in ("", "_fastest", "_slowest"))


def line(what: str, ours: dict, theirs=None, best=None, goal: dict | None = None) -> dict:
    """Makes a line from rows of a report."""
    sides = {"ours": ours, "theirs": theirs, "best": best}
    found = {"what": what, "goal": goal, "times": {}}
    for name, row in sides.items():
        found[name] = row and {key: row[key] for key in (*FIGURES, "peak") if key in row}
        if row and name != "ours":
            found["times"][name] = {key: row[key] / ours[key] for key in ("seconds", "cpu")}
    return found


def grouped(report: dict, keys: tuple[str, ...]):
    """Groups the rows of a report by the values of `keys`; each group holds its rows by side."""
    rows = report["rows"]
    for common, group in itertools.groupby(rows, lambda row: [row[key] for key in keys]):
        yield common, {row["side"]: row for row in group}


def of_prediction(report: dict, times: float) -> list[dict]:
    """Makes the lines of `prediction.py`."""
    return [
        line(
            f"a matte, {network}, {height} x {width}, {strategy}",
            *(sides.get(name) for name in ("ours", "theirs", "best")),
            goal={"times": times},
        )
        for (network, height, width, strategy), sides in grouped(
            report, ("network", "height", "width", "strategy")
        )
    ]


def of_training(report: dict, times: float) -> list[dict]:
    """Makes the lines of `training.py`."""
    return [
        line(
            f"a training step, {network}, {pictures} x {size} x {size}",
            *(sides.get(name) for name in ("ours", "theirs", "best")),
            goal={"times": times},
        )
        for (network, size, pictures), sides in grouped(report, ("network", "size", "pictures"))
    ]


def of_metrics(report: dict, times: float) -> list[dict]:
    """Makes the line of `metrics.py`."""
    sides = {row["side"]: row for row in report["rows"]}
    height, width = report["shape"]
    what = f"ten measures of a pair, {height} x {width}"
    return [line(what, sides["p3m_jax"], sides.get("published program"), goal={"times": times})]


def of_input(report: dict, times: float) -> list[dict]:
    """Makes the lines of `input_pipeline.py`; each is the time of one training sample."""
    per_sample = {}
    for row in report["rows"]:
        samples = row["part_cpu"] / row["core_seconds_per_sample"]
        per_sample[row["side"]] = {
            key.removeprefix("part_"): row[key] / samples
            for key in row
            if key.startswith("part_seconds") or key.startswith("part_cpu")
        } | {"peak": row["peak"]}
    theirs = per_sample.pop("theirs")
    return [
        line(f"a training sample, one core, {way}", ours, theirs, goal={"times": times})
        for way, ours in ((side.removeprefix("ours, "), row) for side, row in per_sample.items())
    ]


def of_folder(report: dict, times: float) -> list[dict]:
    """Makes the lines of `folder.py`: cold and warm."""
    return [
        line(
            f"{count} pictures from start to end, {network}, {strategy}, {name}",
            sides[name],
            sides.get("theirs"),
            sides.get("best"),
            goal={"times": times},
        )
        for (network, strategy, count), sides in grouped(report, ("network", "strategy", "count"))
        for name in ("cold", "warm")
        if name in sides
    ]


def of_startup(report: dict, times: float) -> list[dict]:
    """Makes the lines of `startup.py`, which has its own goals except for the first picture."""
    rows = {row["what"]: row for row in report["rows"]}
    theirs = rows.pop("first picture, theirs", None)
    return [
        line(what, row, goal={"seconds": row["goal"]})
        if row["goal"]
        else line(what, row, theirs, goal={"times": times})
        for what, row in rows.items()
    ]


def merge(lines: list[dict]) -> list[dict]:
    """Merges lines about the same thing from several reports.

    Each rival is shown next to our figures from the same report.
    """
    found: dict[str, dict] = {}
    for new in lines:
        old = found.setdefault(new["what"], new)
        old["times"] = new["times"] | old["times"]
        for side in ("theirs", "best"):
            old[side] = old[side] or new[side]
    return list(found.values())


def judge(found: dict, by: str) -> bool | None:
    """Whether a line meets its goal; None if that was not measured."""
    goal = found["goal"]
    if "seconds" in goal:
        return found["ours"]["seconds"] <= goal["seconds"]
    if not found["times"]:
        return None
    return min(times[by] for times in found["times"].values()) >= goal["times"]


def cell(row: dict | None) -> str:
    """The median (fastest..slowest) of wall seconds, and CPU seconds and peak memory, of a side."""
    if row is None:
        return ""
    unit, scale = ("ms", 1e3) if row["seconds"] < 0.2 else ("s", 1)
    wall, fastest, slowest, cpu = (scale * row[key] for key in (*FIGURES[:3], "cpu"))
    text = f"{wall:.3g} ({fastest:.3g}..{slowest:.3g}) {unit}, CPU {cpu:.3g} {unit}"
    return text + (f", {row['peak'] / 1e9:.2f} GB" if "peak" in row else "")


def markdown(lines: list[dict], failed: dict[str, str], by: str) -> str:
    """Makes the table; `failed` maps the parts that failed to their last lines of output."""
    table = ["| what | ours | theirs | theirs at best | times faster | goal | met |"]
    table += ["|---|---|---|---|---|---|---|"]
    names = {"theirs": "", "best": "at best "}
    for found in lines:
        goal = found["goal"]
        wanted = f"{goal['times']:g} x" if "times" in goal else f"{goal['seconds']:g} s"
        times = "; ".join(
            f"{names[side]}{ratios['seconds']:.2f} (CPU {ratios['cpu']:.2f})"
            for side, ratios in found["times"].items()
        )
        sides = " | ".join(cell(found[side]) for side in ("ours", "theirs", "best"))
        met = {True: "yes", False: "no", None: ""}[judge(found, by)]
        table.append(f"| {found['what']} | {sides} | {times} | {wanted} | {met} |")
    for part, last in failed.items():
        told = last.replace("|", "\\|")
        table.append(f"| {part} | failed: {told} | | | | | no |")
    return "\n".join(table)
