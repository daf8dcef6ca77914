"""Formats the results of an evaluation as Markdown, CSV and JSON.

Results are grouped by strategy or, if several protocols are compared, by protocol. Rows are the
results of `evaluate_examples`, and estimates those of `summarise`.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from p3m_jax.evaluation.evaluator import Row
from p3m_jax.evaluation.summary import SMALLEST_SAMPLE, Estimate
from p3m_jax.text import shown

Rows = Mapping[str, Sequence[Row]]
Estimates = Mapping[str, Mapping[str, Estimate]]


def measures_table(estimates: Estimates) -> list[str]:
    """Makes the lines of a Markdown table of all measures."""
    header = "| measure | " + " | ".join(name.upper() for name in estimates) + " |"
    lines = [header, "|---" * (len(estimates) + 1) + "|"]
    for name in next(iter(estimates.values())):
        cells = [cell(name, values.get(name)) for values in estimates.values()]
        lines.append(f"| {_title(name)} | " + " | ".join(cells) + " |")
    return lines


def _scale(name: str) -> int:
    """Returns the factor for a measure: 1000 for means over pixels, as in the papers, else 1."""
    return 1000 if name.startswith(("MSE", "MAD")) else 1


def _title(name: str) -> str:
    return f"{name} x 1000" if _scale(name) == 1000 else name


def cell(name: str, estimate: Estimate | None) -> str:
    """Formats the mean of a measure and its interval, as "mean [low, high]".

    Measures whose names begin with MSE or MAD are multiplied by 1000. Returns "" if `estimate` is
    None.
    """
    if estimate is None:
        return ""
    scale = _scale(name)
    text = f"{estimate.mean * scale:.2f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low * scale:.2f}, {estimate.high * scale:.2f}]"
    return text


def about_intervals(estimates: Estimates) -> str:
    """Returns the sentences below a table that explain its values."""
    every = [estimate for values in estimates.values() for estimate in values.values()]
    text = "Lower is better; means over pictures."
    if any(estimate.low is not None for estimate in every):
        text += " In brackets: 95 % bootstrap intervals over pictures (percentile, 10,000 draws)."
    if any(estimate.low is None for estimate in every):
        text += (
            f" Means over fewer than {SMALLEST_SAMPLE} pictures are shown without intervals, "
            "because no significance can be claimed."
        )
    return text


def rows_csv(column: str, rows: Rows) -> str:
    """Makes a CSV table of all rows with a header.

    The first column, called `column`, holds the strategy or protocol.
    """
    names = dict.fromkeys(name for some in rows.values() for row in some for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, [column, *names], lineterminator="\n")
    writer.writeheader()
    for key, some in rows.items():
        for row in some:
            values = {k: shown(v) if isinstance(v, str) else v for k, v in _known(row).items()}
            writer.writerow({column: key, **values})
    return text.getvalue()


def results(rows: Rows, estimates: Estimates) -> dict[str, Any]:
    """Returns the entry `results` of results.json: all means and rows."""
    return {
        key: {
            "means": {name: estimate._asdict() for name, estimate in estimates[key].items()},
            "pictures": [_known(row) for row in some],
        }
        for key, some in rows.items()
    }


def _known(row: Row) -> dict[str, Any]:
    """Returns the row with None instead of NaN, which JSON cannot express."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
