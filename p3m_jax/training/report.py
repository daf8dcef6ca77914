"""Writes the short report of a finished run: curves, scores, and sheets of mattes."""

import io

import numpy as np
from PIL import Image

from p3m_jax.checkpoints.weights import InferenceCheckpoint
from p3m_jax.data.layouts import find_test_set
from p3m_jax.evaluation.evaluator import Row, Worst, evaluate_examples
from p3m_jax.evaluation.report import worst_sheet
from p3m_jax.evaluation.summary import summarise
from p3m_jax.inference.programs import predictor
from p3m_jax.pictures.images import write_image
from p3m_jax.runtime import distributed
from p3m_jax.storage.files import write_text
from p3m_jax.text import counted, printable, shown
from p3m_jax.training.data import TrainingData
from p3m_jax.training.log import read_log
from p3m_jax.training.settings import DataSettings
from p3m_jax.training.setup import Setup

_SHOWN = ("SAD", "MSE", "MAD", "SAD-T", "GRAD", "CONN")


def write_report(setup: Setup, best: InferenceCheckpoint) -> None:
    """Scores the test sets with the weights `best`, and writes a report into the run's folder.

    The report is `report.md`, `curves.png`, and a sheet of mattes for each test set. All processes
    must call this function: they divide the scoring, and the first one writes the files.
    """
    settings, workdir, data = setup.settings, setup.workdir, setup.data
    scored = {
        name: _score(name, settings.test_faces, data, best) for name in settings.final_test_sets
    }
    if not distributed.is_first():
        return
    steps, validations = read_log(workdir, "step"), read_log(workdir, "validation")
    write_image(workdir / "curves.png", _curves(steps, validations))
    first, last = _ends([line["total"] for line in steps])
    chosen, size = best.provenance.get("step"), settings.loop.validation_size
    lines = [
        shown(f"# Training of {settings.network}: {workdir.name}"),
        "",
        *(["```", (workdir / "SYNTHETIC").read_text(), "```", ""] if data.synthetic else []),
        f"{counted(len(data.train.examples), 'picture')} of {shown(data.train.name)}"
        f"{_faces(settings.data)}, {steps[-1]['step']:,} steps of {settings.step.batch_size}, "
        f"learning rate {settings.step.learning_rate:g}, seed {settings.seed}. The loss changed "
        f"from {first:.3f} to {last:.3f} (medians of the first and the last tenth of the logged "
        "steps).",
        "",
        "![curves](curves.png)",
        "",
        f"## Validation split ({counted(len(data.validation.examples), 'picture')} held out)",
        "",
        f"The network saw pictures resized to {size} x {size}. "
        f"The exported weights are those of step {chosen}, which has the lowest SAD.",
        "",
        *_table("step", [(line["step"], line) for line in validations]),
        "",
        f"![validation](sheets/step_{validations[-1]['step']:06d}.jpg)",
        "",
    ]
    for name, (rows, worst) in scored.items():
        write_image(workdir / "sheets" / f"{name}.jpg", worst_sheet(worst))
        lines += _scores(name, settings.test_faces, rows)
    write_text(workdir / "report.md", printable("\n".join(lines)))


def _faces(data: DataSettings) -> str:
    faces = data.describe_faces().get("faces")
    return f" (faces {faces})" if faces else ""


def _score(
    name: str, faces: str | None, data: TrainingData, best: InferenceCheckpoint
) -> tuple[list[Row], Worst]:
    dataset = find_test_set(data.root, name, faces=faces)
    worst = Worst(4)
    rows = evaluate_examples(
        predictor(best.network, best.variables),
        dataset,
        model_name=best.model_name,
        observe=worst,
    )
    return rows, worst.together()


def _scores(name: str, faces: str | None, rows: list[Row]) -> list[str]:
    of_faces = f", {faces} faces" if faces else ""
    means = {measure: estimate.mean for measure, estimate in summarise(rows).items()}
    return [
        f"## {name} ({counted(len(rows), 'picture')}{of_faces}, RESIZE, protocol ours)",
        "",
        "Scored once, after the weights were chosen.",
        "",
        *_table("", [(name, means)]),
        "",
        f"![{name}](sheets/{name}.jpg)",
        "",
    ]


def _table(title: str, rows: list[tuple[object, dict[str, float]]]) -> list[str]:
    names = [name for name in _SHOWN if name in rows[0][1]]
    lines = [f"| {title} | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    for label, values in rows:
        lines.append(f"| {label} | " + " | ".join(f"{values[name]:.4g}" for name in names) + " |")
    return lines


def _ends(values: list[float]) -> tuple[float, float]:
    tenth = max(1, len(values) // 10)
    return float(np.median(values[:tenth])), float(np.median(values[-tenth:]))


def _curves(steps: list[dict], validations: list[dict]) -> np.ndarray:
    """Returns a plot, uint8 (H, W, 3), of the loss terms and the validation SAD by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    names = [key for key in steps[0] if key not in ("event", "time", "synthetic", "step")]
    for name in names:
        if name != "pictures_per_second":
            losses.plot(
                [line["step"] for line in steps],
                [line[name] for line in steps],
                label=name,
                linewidth=2 if name == "total" else 0.8,
            )
    losses.set(title="training loss", xlabel="step", yscale="log")
    losses.legend(fontsize=6)
    errors.plot([line["step"] for line in validations], [line["SAD"] for line in validations], "o-")
    errors.set(title="SAD on the validation split", xlabel="step")
    errors.set_ylim(bottom=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))
