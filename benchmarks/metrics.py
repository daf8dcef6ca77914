"""Measures the time of the error measures of one pair, compared with a plain implementation.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --prediction A.png --matte B.png --json OUT.json
    python benchmarks/metrics.py --reference CHECKOUT

The rivals take turns in one process, on one thread, with a pause after each. The results are the
ratio of the medians, and whether the numbers agree. `--reference` names a checkout of the published
PyTorch program, whose own metrics (core/metrics.py or core/evaluate.py) are then measured, too.
"""

import importlib.util
import time
import types
from pathlib import Path

import command_line as cli
import cv2
import numpy as np
from scipy import ndimage
from sides import Clock, summary

from p3m_jax.evaluation.metrics import METRICS, all_metrics
from p3m_jax.pictures.labels import read_matte
from p3m_jax.pictures.trimap import trimap_from_matte


def plain_metrics(prediction, matte, trimap) -> dict[str, float]:
    """The ten measures, written with NumPy and SciPy exactly as defined, without optimisation."""
    difference = np.abs(prediction - matte)
    known = np.where(trimap == 255, 1, np.where(trimap == 0, 0, prediction))
    transition = max(int((trimap == 128).sum()), 1)

    def magnitude(values):
        return np.hypot(*(ndimage.gaussian_filter(values, 1.4, o) for o in ((0, 1), (1, 0))))

    last = np.full(matte.shape, -1, np.float32)
    for number in range(1, 11):
        threshold = np.float32(number / 10)
        labels, count = ndimage.label((prediction >= threshold) & (matte >= threshold))
        if count:
            largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
            last[(labels != largest) & (last == -1)] = (number - 1) / 10
    last[last == -1] = 1

    def phi(values):
        return 1 - (values - last) * (values - last >= 0.15)

    return {
        "SAD": difference.sum(dtype=float) / 1000,
        "MSE": np.square(difference).mean(dtype=float),
        "MAD": difference.mean(dtype=float),
        "SAD-T": np.abs(known - matte).sum(dtype=float) / 1000,
        "MSE-T": np.square(known - matte).sum(dtype=float) / transition,
        "MAD-T": np.abs(known - matte).sum(dtype=float) / transition,
        "SAD-FG": difference[trimap == 255].sum(dtype=float) / 1000,
        "SAD-BG": difference[trimap == 0].sum(dtype=float) / 1000,
        "GRAD": np.square(magnitude(prediction) - magnitude(matte)).sum(dtype=float) / 10,
        "CONN": np.abs(phi(prediction) - phi(matte)).sum(dtype=float) / 1000,
    }


def published_metrics(checkout: Path):
    """The published program's own measures as one function; its files run in the checkout."""
    files = [checkout / "core" / name for name in ("metrics.py", "evaluate.py")]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        cli.refuse(f"{checkout}: holds neither core/metrics.py nor core/evaluate.py.")
    if not hasattr(ndimage, "morphology"):  # newer SciPy removed the namespace, not the function
        morphology = types.ModuleType("scipy.ndimage.morphology")
        morphology.distance_transform_edt = ndimage.distance_transform_edt
        ndimage.morphology = morphology
    spec = importlib.util.spec_from_file_location("published", path)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)

    def metrics(prediction, matte, trimap):
        values = [
            *theirs.calculate_sad_mse_mad_whole_img(prediction, matte),
            *theirs.calculate_sad_mse_mad(prediction, matte, trimap),
            *theirs.calculate_sad_fgbg(prediction, matte, trimap),
            theirs.compute_gradient_whole_image(prediction, matte),
            theirs.compute_connectivity_loss_whole_image(prediction, matte),
        ]
        return {name: float(value) for name, value in zip(METRICS, values, strict=True)}

    return metrics


def generated_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A matte of a soft body with hair-like strands, and a prediction with errors at these."""
    noise = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    distance = np.hypot((x - 0.5) / 0.3, (y - 0.75) / 0.6) - 1
    strands = ndimage.gaussian_filter(noise.standard_normal((height, width)), (6, 1.2)) * 1.5
    mattes = []
    for sharpness, shift in ((12, 0.0), (10, 0.01)):
        band = np.exp(-((distance / 0.12) ** 2))
        alpha = np.clip(0.5 - sharpness * (distance + shift - band * strands), 0, 1)
        mattes.append(np.rint(alpha * 255).astype(np.uint8))
    return mattes[1], mattes[0]


def measure(rivals: dict, arguments, *, rounds: int, pause: float) -> dict[str, dict]:
    """The median, fastest and slowest seconds of every rival, taking turns."""
    runs = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, metrics in rivals.items():
            with Clock() as clock:
                metrics(*arguments)
            runs[name].append({"seconds": clock.wall, "cpu": clock.cpu})
            time.sleep(pause + 2 * clock.wall)
    return {name: summary(taken) for name, taken in runs.items()}


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table; also writes JSON if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--prediction", type=Path, help="a predicted matte (with --matte)")
    parser.add_argument("--matte", type=Path, help="the true matte")
    parser.add_argument("--reference", type=Path, help="a checkout of the published program")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two runs")
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1620), help="height, width")
    options = cli.parse(parser, argv, size=(64, 96), rounds=1, pause=0.0)
    if (options.prediction is None) != (options.matte is None):
        parser.error("--prediction and --matte must be given together.")

    cv2.setNumThreads(1)
    if options.matte:
        prediction, matte = read_matte(options.prediction), read_matte(options.matte)
    else:
        prediction, matte = generated_pair(*options.size)
    trimap = trimap_from_matte(matte)
    pair = (prediction / np.float32(255), matte / np.float32(255), trimap)

    rivals = {"p3m_jax": all_metrics, "plain NumPy and SciPy": plain_metrics}
    if options.reference:
        rivals["published program"] = published_metrics(options.reference)
    values = {name: metrics(*pair) for name, metrics in rivals.items()}
    ours = values["p3m_jax"]
    deviation = {
        name: max(abs(v[m] - ours[m]) / max(abs(ours[m]), 1e-12) for m in METRICS)
        for name, v in values.items()
    }
    taken = measure(rivals, pair, rounds=options.rounds, pause=options.pause)

    print(
        f"{cli.machine()}; ten measures of a {matte.shape[0]} x {matte.shape[1]} pair, "
        f"{options.rounds} rounds"
    )
    table, rows = cli.Table("side", "ms", "x ours", "largest relative deviation"), []
    for name, row in taken.items():
        ratio = row["seconds"] / taken["p3m_jax"]["seconds"]
        median, *between = (1e3 * row[f"seconds{end}"] for end in ("", "_fastest", "_slowest"))
        shown = "{:.1f} ({:.1f}..{:.1f})".format(median, *between)
        table.row(name, shown, f"{ratio:.1f}", f"{deviation[name]:.1e}")
        rows.append({"side": name, **row, "deviation": deviation[name]})
    cli.write_report(options, rows, shape=matte.shape, values=ours)


if __name__ == "__main__":
    main()
