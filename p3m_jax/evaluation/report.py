"""Makes an evaluation's report: scores per picture, a summary, and sheets of worst pictures."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from p3m_jax.data.sets import Example
from p3m_jax.evaluation.evaluator import Worst
from p3m_jax.evaluation.output import CSV, JSON, MARKDOWN, sheet_name
from p3m_jax.evaluation.published import PUBLISHED, PUBLISHED_COUNT, WARNINGS
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.evaluation.summary import Estimate, summarise
from p3m_jax.evaluation.tables import (
    Estimates,
    about_intervals,
    cell,
    measures_table,
    results,
    rows_csv,
)
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.labels import read_matte
from p3m_jax.text import counted, phrases, shown

SYNTHETIC_WARNING = (
    "SYNTHETIC: {}. These numbers show that the program works; they say nothing about portraits."
)


@dataclass
class Evaluation:
    """The facts about an evaluation that its report shows.

    Attributes:
      dataset_name: the name of the test set.
      subject: the checkpoint that was evaluated, or the folder of another program's predictions.
      protocol: the protocol's name; "files" for another program's predictions.
      protocol_says: the protocol in words.
      trimaps: the origin of the trimaps, in words.
      synthetic: words that say what is synthetic; "" if nothing is.
      provenance: the checkpoint's provenance.
      rows: {strategy: a dict of measures for each picture}.
      worst: {strategy: the examples with the largest SAD}.
      mattes: the matte files that were saved while scoring.
    """

    dataset_name: str
    subject: str
    protocol: str
    protocol_says: str
    trimaps: str
    synthetic: str = ""
    provenance: dict = field(default_factory=dict)
    rows: dict[str, list[dict]] = field(default_factory=dict)
    worst: dict[str, Worst] = field(default_factory=dict)
    mattes: set[Path] = field(default_factory=set)


def make_report(evaluation: Evaluation) -> dict[str, str | np.ndarray]:
    """Returns {file name: content} of the report: strings, and sheets, uint8 (H, W, 3).

    The caller writes the files. So if a picture cannot be read, no partial report is left.
    """
    estimates = {name: summarise(rows) for name, rows in evaluation.rows.items()}
    texts = {
        MARKDOWN: markdown(evaluation, estimates),
        CSV: rows_csv("strategy", evaluation.rows),
        JSON: _json(evaluation, estimates),
    }
    sheets = {
        sheet_name(strategy): worst_sheet(worst)
        for strategy, worst in evaluation.worst.items()
        if worst.entries
    }
    return texts | sheets


def markdown(evaluation: Evaluation, estimates: dict[str, dict[str, Estimate]]) -> str:
    """Makes the summary: the scores, how they were computed, published scores, and warnings."""
    count = len(next(iter(evaluation.rows.values())))
    loud = f"**{SYNTHETIC_WARNING.format(evaluation.synthetic)}**" if evaluation.synthetic else ""
    lines = [f"# {evaluation.dataset_name}: {counted(count, 'picture')}", ""]
    lines += [loud, ""] if loud else []
    lines += [
        f"- Scored: {evaluation.subject}",
        *(f"- {phrase}" for phrase in phrases(evaluation.provenance)),
        f"- Protocol: {evaluation.protocol}: {evaluation.protocol_says}",
        f"- Strategy: {', '.join(name.upper() for name in evaluation.rows)}"
        if evaluation.protocol != "files"
        else "- Strategy: unknown, predicted by another program",
        f"- Trimaps: {evaluation.trimaps}",
        "",
        *measures_table(estimates),
        "",
        about_intervals(estimates),
        "",
    ]
    published = PUBLISHED.get(evaluation.dataset_name)
    if published:
        lines += ["## Published scores", "", *_comparison(evaluation, estimates), ""]
        if count != PUBLISHED_COUNT:
            lines.append(
                f"- NOT COMPARABLE: {counted(count, 'picture')} here, {PUBLISHED_COUNT} in the "
                "published set."
            )
        lines += [f"- {warning}" for warning in WARNINGS] + [""]
        lines += [loud, ""] if loud else []
    return "\n".join(map(shown, lines))


def _comparison(evaluation: Evaluation, estimates: Estimates) -> list[str]:
    lines = ["| method | SAD | MSE x 1000 | CONN |", "|---|---|---|---|"]
    for line in PUBLISHED[evaluation.dataset_name]:
        cells = ("" if value is None else f"{value:.2f}" for value in line[1:])
        lines.append(f"| {line.method} | " + " | ".join(cells) + " |")
    own = "SYNTHETIC, not comparable" if evaluation.synthetic else "this evaluation"
    for strategy, values in estimates.items():
        cells = (cell(name, values.get(name)) for name in ("SAD", "MSE", "CONN"))
        lines.append(f"| **{own}, {strategy.upper()}** | " + " | ".join(cells) + " |")
    return lines


def worst_sheet(worst: Worst) -> np.ndarray:
    """Makes the sheet uint8 (H, W, 3) of the worst pictures, the worst first."""
    rows = []
    for number, (sad, example, prediction) in enumerate(worst.entries, 1):
        if prediction.dtype == np.uint8:
            prediction = prediction / np.float32(255)
        matte = read_matte(example.matte) / np.float32(255)
        caption = shown(f"{number}. {example.stem}   SAD {sad:.2f}")
        rows.append((_picture_for(example, matte.shape), matte, prediction, caption))
    return make_sheet(rows)


def _picture_for(example: Example, shape: tuple[int, ...]) -> np.ndarray:
    """Reads the picture, and resizes it to its matte's size if necessary.

    The sizes of pictures are not checked when another program's predictions are evaluated.
    """
    picture = read_picture(example.picture)
    if picture.shape[:2] == shape:
        return picture
    import cv2

    return cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)


def _json(evaluation: Evaluation, estimates: Estimates) -> str:
    document = {
        "set": evaluation.dataset_name,
        "synthetic": evaluation.synthetic or False,
        "scored": evaluation.subject,
        "provenance": evaluation.provenance,
        "protocol": {"name": evaluation.protocol, "says": evaluation.protocol_says},
        "trimaps": evaluation.trimaps,
        "results": results(evaluation.rows, estimates),
    }
    return json.dumps(document, indent=1, allow_nan=False, default=str) + "\n"
