"""Makes the report of the four PPT protocols.

The report holds the mean SAD of each protocol, comparisons between protocols, the measures of
every picture, and a sheet of pictures.
"""

import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from p3m_jax.evaluation.comparison import ROUNDING, SIGNIFICANCE, Comparison, compare
from p3m_jax.evaluation.evaluator import Row
from p3m_jax.evaluation.output import JSON, MARKDOWN, PPT_KIND, PPT_SHEET
from p3m_jax.evaluation.ppt import BLURRED, NORMAL, PPT_PROTOCOLS, Pictures
from p3m_jax.evaluation.ppt_sheet import Predictions, differences_sheet
from p3m_jax.evaluation.published import PUBLISHED_COUNT, WARNINGS
from p3m_jax.evaluation.report import SYNTHETIC_WARNING
from p3m_jax.evaluation.summary import Estimate, summarise
from p3m_jax.evaluation.tables import (
    Estimates,
    about_intervals,
    cell,
    measures_table,
    results,
    rows_csv,
)
from p3m_jax.inference.resizing import Protocol
from p3m_jax.text import counted, phrases, shown

PPT_CSV = "ppt.csv"
FACE_KINDS = {BLURRED: "blurred", NORMAL: "normal"}

# SAD on P3M-500-P, in the order of `PPT_PROTOCOLS` (Li et al., 2021).
PUBLISHED_PPT = {
    "SHM": (21.56, 24.33, 23.91, 17.13),
    "GFM": (13.20, 13.08, 13.54, 10.73),
    "BASIC (P3M-Net without TFI, sBFI, dBFI)": (15.13, 15.52, 24.38, 14.52),
    "P3M-Net (ResNet-34)": (8.73, 9.22, 11.22, 9.06),
}
ONE_TRAINING = (
    "The test is over pictures: it shows whether these two checkpoints differ on such pictures, "
    "not whether two other trainings would. B:N - N:N also includes every other difference between "
    "the two trainings; to separate these, train both several times with different seeds."
)


class Trained(NamedTuple):
    """The facts about a checkpoint that reports show."""

    model_name: str
    path: str
    provenance: dict


@dataclass
class PPT:
    """The facts that a report on the four PPT protocols shows.

    Attributes:
      dataset_name: the name of the test set.
      trained: {"B": the checkpoint trained on blurred faces, "N": the one trained on normal faces}.
      blurred_source: the origin of the pictures with blurred faces, in words.
      protocol: the protocol of resizing and scoring, not a PPT protocol.
      strategy: the name of the test-time strategy.
      trimaps: the origin of the trimaps, in words.
      synthetic: words that say what is synthetic; "" if nothing is.
      notes: warnings that must be prominent.
      made_here: whether this program blurred the faces.
      rows: {PPT protocol, such as "B:N": a dict of measures for each picture}.
    """

    dataset_name: str
    trained: dict[str, Trained]
    blurred_source: str
    protocol: Protocol
    strategy: str
    trimaps: str
    synthetic: str = ""
    notes: list[str] = field(default_factory=list)
    made_here: bool = False
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """Returns the warnings that every reader must see, one sentence each."""
        found = [SYNTHETIC_WARNING.format(self.synthetic)] if self.synthetic else []
        sad = {name: [row["SAD"] for row in rows] for name, rows in self.rows.items()}
        pairs = [(sad[f"{faces}:B"], sad[f"{faces}:N"]) for faces in FACE_KINDS if sad]
        if sad and all(np.allclose(*pair, rtol=ROUNDING, atol=0) for pair in pairs):
            found.append(
                "NOTE: blurred and normal pictures score exactly the same; are they the same "
                "pictures?"
            )
        return found + self.notes


class Checkpoint(typing.Protocol):
    """The attributes of an `InferenceCheckpoint` that `notes` uses."""

    @property
    def model_name(self) -> str:
        """The network's name."""

    @property
    def variables(self) -> Iterable[Mapping[str, Any]]:
        """Two mappings {name: array}: the network's learned weights, and its other state."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The origin of the checkpoint: {"faces": the faces seen in training, ...}."""


def notes(blurred: Checkpoint, normal: Checkpoint) -> list[str]:
    """Returns warnings about the comparison of two checkpoints.

    `blurred` was trained on blurred faces, `normal` on normal ones. There is a warning if the
    provenance of a checkpoint says otherwise, if the two are different networks, or if they have
    the same weights.
    """
    found = []
    said = {
        BLURRED: str(blurred.provenance.get("faces")),
        NORMAL: str(normal.provenance.get("faces")),
    }
    for faces, others in ((BLURRED, "normal"), (NORMAL, "obfuscated")):
        if said[faces].startswith(others):
            found.append(
                f"NOTE: according to its provenance, the checkpoint for {FACE_KINDS[faces]} faces "
                f"was trained on other faces ({said[faces]}); are the two swapped?"
            )
    if blurred.model_name != normal.model_name:
        return found + [
            f"NOTE: the checkpoints are different networks, {blurred.model_name} (blurred faces) "
            f"and {normal.model_name} (normal faces): B:N - N:N compares the networks as well."
        ]
    pairs = zip(blurred.variables, normal.variables, strict=True)
    if all(np.array_equal(one[name], other[name]) for one, other in pairs for name in one):
        found.append(
            "NOTE: both checkpoints hold the same weights, so rows B and N show one network."
        )
    return found


def make_report(
    ppt: PPT, tested: Mapping[str, Pictures], predictions: Predictions, count: int
) -> dict[str, str | np.ndarray]:
    """Returns {file name: content} of the report: strings, and a sheet of `count` pictures.

    `tested` and `predictions` are the test pictures and the mattes for the sheet. The caller writes
    the files. So if a picture cannot be read, no partial report is left.
    """
    estimates = {name: summarise(ppt.rows[name]) for name in PPT_PROTOCOLS}
    comparisons = compare(ppt.rows)
    report: dict[str, str | np.ndarray] = {
        MARKDOWN: markdown(ppt, estimates, comparisons),
        PPT_CSV: rows_csv("protocol", ppt.rows),
        JSON: _json(ppt, estimates, comparisons),
    }
    if count:
        report[PPT_SHEET] = differences_sheet(ppt.rows, tested, predictions, count)
    return report


def markdown(
    ppt: PPT, estimates: Mapping[str, dict[str, Estimate]], comparisons: list[Comparison]
) -> str:
    """Makes the summary: the matrix, the comparisons, all measures, and published scores."""
    count = len(ppt.rows[PPT_PROTOCOLS[0]])
    loud = [line for warning in ppt.warnings() for line in (f"**{warning}**", "")]
    lines = [
        f"# Privacy-preserving training: {ppt.dataset_name}, {counted(count, 'picture')}",
        "",
        *loud,
    ]
    for faces, trained in ppt.trained.items():
        origin = "; ".join(phrases(trained.provenance))
        lines.append(
            f"- {faces}, trained on {FACE_KINDS[faces]} faces: {trained.model_name}, "
            f"{trained.path} ({origin})"
        )
    lines += [
        f"- Tested on blurred faces: {ppt.blurred_source}",
        f"- Protocol: {ppt.protocol.name}: {ppt.protocol.says}",
        f"- Strategy: {ppt.strategy.upper()}",
        f"- Trimaps: {ppt.trimaps}",
        "",
        "## SAD",
        "",
        *_matrix(estimates),
        "",
        about_intervals(estimates),
        "",
        "## Comparisons",
        "",
        *_comparisons(comparisons),
        "",
        "## All measures, trained:tested",
        "",
        *measures_table(estimates),
        "",
    ]
    if ppt.dataset_name == "P3M-500-P":
        lines += ["## Published SAD", "", *_beside_published(ppt, estimates, count), ""]
        lines += loud
    return "\n".join(map(shown, lines))


def _matrix(estimates: Estimates) -> list[str]:
    lines = ["| | tested on blurred faces | tested on normal faces |", "|---|---|---|"]
    for trained, word in FACE_KINDS.items():
        cells = (
            f"{trained}:{tested} **{cell('SAD', estimates[f'{trained}:{tested}']['SAD'])}**"
            for tested in FACE_KINDS
        )
        lines.append(f"| trained on {word} faces | " + " | ".join(cells) + " |")
    return lines


def _comparisons(comparisons: list[Comparison]) -> list[str]:
    lines = ["| difference | SAD, mean over pictures | p | p corrected |", "|---" * 4 + "|"]
    answers = []
    for comparison in comparisons:
        question, sad = comparison.question, comparison.differences["SAD"]
        name = f"{question.one} - {question.other}"
        ps = ("" if p is None else f"{p:.4f}" for p in (comparison.p, comparison.p_holm))
        lines.append(f"| {name} | {_signed(sad)} | " + " | ".join(ps) + " |")
        answers.append(f"- {name}: {question.asks} **{_signed(sad)} SAD**: {comparison.verdict}")
    about = "Above 0: the former errs more. Differences are paired by picture."
    if any(comparison.p is not None for comparison in comparisons):
        about += (
            " In brackets: 95 % bootstrap intervals of the mean difference. p: two-sided sign-flip "
            f"permutation test, corrected for {len(comparisons)} comparisons (Holm); real means "
            f"below {SIGNIFICANCE}."
        )
    return [
        *lines,
        "",
        about,
        "",
        *answers,
        "",
        ONE_TRAINING,
    ]


def _signed(estimate: Estimate) -> str:
    text = f"{estimate.mean:+.2f}"
    if estimate.low is not None:
        text += f" [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    return text


def _beside_published(ppt: PPT, estimates: Estimates, count: int) -> list[str]:
    lines = ["| method | " + " | ".join(PPT_PROTOCOLS) + " |", "|---" * 5 + "|"]
    for method, values in PUBLISHED_PPT.items():
        lines.append(f"| {method} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    own = "SYNTHETIC, not comparable" if ppt.synthetic else "this evaluation"
    cells = (cell("SAD", estimates[name]["SAD"]) for name in PPT_PROTOCOLS)
    lines += [f"| **{own}, {ppt.strategy.upper()}** | " + " | ".join(cells) + " |", ""]
    if count != PUBLISHED_COUNT:
        lines.append(
            f"- NOT COMPARABLE: {counted(count, 'picture')} here, {PUBLISHED_COUNT} in the "
            "published set."
        )
    if ppt.made_here:
        lines.append(
            "- NOT COMPARABLE for blurred faces: this program blurred them, and its method may "
            "differ from the authors'."
        )
    return lines + [f"- {warning}" for warning in WARNINGS]


def _json(ppt: PPT, estimates: Estimates, comparisons: list[Comparison]) -> str:
    document = {
        "kind": PPT_KIND,
        "set": ppt.dataset_name,
        "synthetic": ppt.synthetic or False,
        "warnings": ppt.warnings(),
        "trained": {faces: trained._asdict() for faces, trained in ppt.trained.items()},
        "blurred_pictures": ppt.blurred_source,
        "protocol": {"name": ppt.protocol.name, "says": ppt.protocol.says},
        "strategy": ppt.strategy,
        "trimaps": ppt.trimaps,
        "comparisons": [
            {
                "difference": f"{comparison.question.one} - {comparison.question.other}",
                "asks": comparison.question.asks,
                "means": {n: e._asdict() for n, e in comparison.differences.items()},
                "p": comparison.p,
                "p_holm": comparison.p_holm,
                "verdict": comparison.verdict,
            }
            for comparison in comparisons
        ],
        "results": results(ppt.rows, estimates),
    }
    return json.dumps(document, indent=1, allow_nan=False, default=str) + "\n"
