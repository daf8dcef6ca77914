"""Evaluating sets: rows, summaries, reports, and the command as a user meets it."""

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3m_jax.commands import evaluate as command
from p3m_jax.data.layouts import folder_pair
from p3m_jax.data.layouts import test_set as find_test_set
from p3m_jax.evaluation.evaluator import (
    EvaluationError,
    Worst,
    evaluate_examples,
    evaluate_predictions,
)
from p3m_jax.evaluation.inference import matte_picture
from p3m_jax.evaluation.metrics import METRICS, PRIVACY_METRICS, all_metrics
from p3m_jax.evaluation.report import Evaluation, make_report
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.evaluation.summary import summarise
from p3m_jax.images import read_matte, read_picture, write_image
from p3m_jax.trimap import trimap_from_matte

ROOT = Path(__file__).parents[1]
SHAPES = {"c": (90, 70), "a": (64, 96), "b": (70, 70)}


def luminance(batch):
    grey = batch.mean(axis=-1, keepdims=True) / 255
    semantic = np.concatenate([1 / 3 - grey, 0 * grey, grey - 2 / 3], axis=-1)
    return {"semantic": semantic, "detail": grey, "fusion": grey}


def _matte(shape, radius):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    return np.clip((radius - distance) * 40 + 128, 0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    """A P3M-500-P of three small pictures, with predictions that err more from a to c."""
    base = tmp_path / "data" / "validation" / "P3M-500-P"
    for number, (stem, shape) in enumerate(sorted(SHAPES.items())):
        matte = _matte(shape, 20)
        trimap = trimap_from_matte(matte, 7)  # not what would be made of the matte
        face = np.zeros(shape, np.uint8)
        face[25:35, 30:40] = 255 if stem != "b" else 0
        picture = np.repeat(matte[..., None] // 2 + 60, 3, axis=-1)
        write_image(base / "blurred_image" / f"{stem}.jpg", picture)
        write_image(base / "mask" / f"{stem}.png", matte)
        write_image(base / "trimap" / f"{stem}.png", trimap)
        write_image(base / "facemask" / f"{stem}.png", face)
        write_image(tmp_path / "theirs" / f"{stem}.png", _matte(shape, 21 + number))
    return tmp_path


@pytest.fixture
def dataset(root):
    return find_test_set(root / "data", "P3M-500-P")


def evaluate(arguments) -> int:
    """The exit code of evaluate.py."""
    try:
        return command.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code


def _arguments(root, *more):
    data = ["--predictions", root / "theirs", "--set", "P3M-500-P", "--data", root / "data"]
    return [str(argument) for argument in [*data, "-o", root / "out", *more]]


# --- rows ------------------------------------------------------------------------------------


def test_predictions_are_scored_with_the_files_of_the_set(root, dataset):
    rows = evaluate_predictions(root / "theirs", dataset, progress=False)
    assert [row["stem"] for row in rows] == ["a", "b", "c"]
    for row, example in zip(rows, dataset.examples, strict=True):
        expected = all_metrics(
            read_matte(root / "theirs" / f"{example.stem}.png"),
            read_matte(example.matte),
            read_matte(example.trimap),
            read_matte(example.facemask),
        )
        assert (row["height"], row["width"]) == SHAPES[example.stem]
        for name in METRICS + PRIVACY_METRICS:
            assert row[name] == pytest.approx(expected[name], nan_ok=True), name


def test_without_trimaps_they_are_made_from_the_mattes(root, dataset):
    base = root / "data" / "validation" / "P3M-500-P"
    pair = folder_pair(base / "blurred_image", base / "mask")
    row = evaluate_predictions(root / "theirs", pair, progress=False)[1]
    matte = read_matte(dataset.examples[1].matte)
    expected = all_metrics(
        read_matte(root / "theirs" / "b.png"), matte, trimap_from_matte(matte, 25)
    )
    assert {name: row[name] for name in METRICS} == pytest.approx(expected, nan_ok=True)
    assert not set(PRIVACY_METRICS) & set(row)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("strategy", ["resize", "hybrid"])
def test_a_network_is_scored_by_protocol(dataset, strategy, workers):
    """8-bit protocols score exactly what a file of the matte scores; order is the set's."""
    seen = []
    rows = evaluate_examples(
        luminance,
        dataset,
        strategy=strategy,
        protocol="p3m-2024",
        workers=workers,
        progress=False,
        observe=lambda example, prediction, row: seen.append((example.stem, prediction, row)),
    )
    assert [stem for stem, _, _ in seen] == ["a", "b", "c"]
    for example, row, (_, prediction, observed) in zip(dataset.examples, rows, seen, strict=True):
        picture = read_picture(example.picture)
        alpha = matte_picture(luminance, picture, strategy=strategy, protocol="p3m-2024")
        expected = (alpha * 255).astype(np.uint8)
        np.testing.assert_array_equal(prediction, expected)
        sad = np.abs(expected / 255 - read_matte(example.matte) / 255).sum() / 1000
        assert row is observed
        assert row["SAD"] == pytest.approx(sad, rel=1e-5)


def test_small_real_world_portraits_are_enlarged_for_swin_only(root, dataset):
    sizes = set()

    def network(batch):
        sizes.add(batch.shape[1:3])
        return luminance(batch)

    real_world = dataclasses.replace(dataset, name="RealWorldPortrait-636")
    options = {"protocol": "p3m-2024", "progress": False}
    evaluate_examples(network, real_world, model_name="swin", **options)
    assert sizes == {(512, 768), (512, 512), (640, 512)}
    sizes.clear()
    evaluate_examples(network, real_world, model_name="resnet34", **options)
    evaluate_examples(network, dataset, model_name="swin", **options)
    assert max(max(size) for size in sizes) < 64


def test_everything_in_the_way_is_named_at_once(root, dataset):
    (root / "theirs" / "a.png").unlink()
    (root / "theirs" / "c.png").unlink()
    with pytest.raises(EvaluationError, match=r"2 of 3.*\n  a\.png\n  c\.png"):
        evaluate_predictions(root / "theirs", dataset, progress=False)
    for stem in "abc":
        write_image(root / "theirs" / f"{stem}.png", np.zeros((64, 96), np.uint8))
    with pytest.raises(EvaluationError) as error:
        evaluate_predictions(root / "theirs", dataset, progress=False)
    assert "b.png: 64 x 96, its matte 70 x 70" in str(error.value)
    assert "c.png: 64 x 96, its matte 90 x 70" in str(error.value)
    assert "a.png" not in str(error.value)

    write_image(root / "theirs" / "b.jpg", np.zeros((70, 70), np.uint8))
    with pytest.raises(EvaluationError, match=r"1 \(b\) there with two endings"):
        evaluate_predictions(root / "theirs", dataset, progress=False)

    write_image(dataset.examples[0].picture, np.zeros((9, 9, 3), np.uint8))
    dataset.examples[2].trimap.write_bytes(b"nothing")
    with pytest.raises(EvaluationError) as error:
        evaluate_examples(luminance, dataset, progress=False)
    assert "a.jpg: 9 x 9" in str(error.value)
    assert "trimap/c.png: is not a picture" in str(error.value)


# --- summaries -------------------------------------------------------------------------------


def test_means_leave_out_what_a_picture_does_not_have():
    rows = [{"SAD": 1.0, "MSE-T": math.nan}, {"SAD": 3.0, "MSE-T": 0.5, "SAD-PRIVACY": 4.0}]
    summary = summarise([{"CONN": math.nan, **row} for row in rows])
    assert list(summary) == ["SAD", "MSE-T", "SAD-PRIVACY"]
    assert summary["SAD"] == (2.0, None, None, 2)
    assert summary["MSE-T"] == (0.5, None, None, 1)
    assert summary["SAD-PRIVACY"] == (4.0, None, None, 1)


def test_what_no_picture_has_is_left_out_without_a_warning():
    rows = [{"SAD": float(value), "CONN": math.nan, "MSE-T": math.nan} for value in range(40)]
    rows[0]["MSE-T"] = 2.0
    with warnings.catch_warnings(action="error"):
        summary = summarise(rows)
    assert list(summary) == ["SAD", "MSE-T"]
    assert summary["SAD"] == summarise([{"SAD": row["SAD"]} for row in rows])["SAD"]
    assert summary["MSE-T"] == (2.0, None, None, 1)


def test_intervals_are_those_of_the_mean():
    """For many pictures the percentile interval is the normal one."""
    values = np.random.default_rng(1).gamma(2.0, 3.0, 400)
    rows = [{"SAD": value, "MSE": 2 * value} for value in values]
    summary = summarise(rows)
    half = 1.96 * values.std() / math.sqrt(len(values))
    sad = summary["SAD"]
    assert sad.mean == pytest.approx(values.mean())
    assert sad.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert sad.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert summary["MSE"].low == pytest.approx(2 * sad.low)
    assert summarise(rows) == summary
    assert summarise(rows, seed=1) != summary


@pytest.mark.parametrize("count", [29, 30])
def test_few_pictures_get_no_interval(count):
    estimate = summarise([{"SAD": float(value)} for value in range(count)])["SAD"]
    assert (estimate.low is not None) == (count == 30)
    assert estimate.mean == (count - 1) / 2


def test_worst_are_kept_in_order(dataset):
    worst = Worst(2)
    for example, sad in zip(dataset.examples, (1.0, 3.0, 2.0), strict=True):
        worst(example, np.zeros((2, 2)), {"SAD": sad})
    assert [(sad, example.stem) for sad, example, _ in worst.entries] == [(3.0, "b"), (2.0, "c")]


# --- sheets ----------------------------------------------------------------------------------


def test_a_sheet_shows_every_row_and_where_the_errors_are():
    matte = np.zeros((40, 60))
    prediction = matte.copy()
    prediction[:, 40:] = 1.0  # too much, on the right
    matte[:, :20] = 1.0  # missing, on the left
    picture = np.full((40, 60, 3), (10, 200, 90), np.uint8)
    sheet = make_sheet(
        [(picture, matte, prediction, "one"), (picture, matte, matte, "two")], height=80
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * 120 + 5 * 6
    pixels = sheet.reshape(-1, 3).astype(int)
    assert (pixels == (10, 200, 90)).all(axis=1).sum() == 2 * 80 * 120
    error = sheet[44:124, 3 * 126 + 6 : -6].astype(int)  # below the titles and one caption
    red = np.argwhere(error[..., 0] - error[..., 2] > 100)
    blue = np.argwhere(error[..., 2] - error[..., 0] > 100)
    assert len(red) == len(blue) == 80 * 40
    assert red[:, 1].min() == 80
    assert blue[:, 1].max() == 39


def test_a_sheet_takes_any_shape():
    rows = [
        (np.zeros((*shape, 3), np.uint8), np.zeros(shape), np.ones(shape), "x\n" + "long " * 99)
        for shape in [(1, 1), (5, 900), (900, 5)]
    ]
    assert make_sheet(rows, height=64).shape[1] == 4 * 128 + 5 * 6
    with pytest.raises(ValueError, match="one row"):
        make_sheet([])


# --- reports and the command -----------------------------------------------------------------


def test_the_command_writes_what_it_says(root, capsys):
    assert evaluate(_arguments(root)) == 0
    printed = capsys.readouterr().out
    out = root / "out"
    assert {path.name for path in out.iterdir()} == {
        "pictures.csv",
        "results.json",
        "summary.md",
        "worst_predictions.jpg",
    }
    with (out / "pictures.csv").open() as file:
        lines = list(csv.DictReader(file))
    results = json.loads((out / "results.json").read_text())
    pictures = results["results"]["predictions"]["pictures"]
    assert [line["stem"] for line in lines] == ["a", "b", "c"]
    for line, picture in zip(lines, pictures, strict=True):
        assert float(line["SAD"]) == picture["SAD"]
    assert lines[1]["SAD-PRIVACY"] == ""  # no face in b
    assert pictures[1]["SAD-PRIVACY"] is None
    mean = sum(picture["SAD"] for picture in pictures) / 3
    assert results["results"]["predictions"]["means"]["SAD"]["mean"] == pytest.approx(mean)

    summary = (out / "summary.md").read_text()
    assert summary in printed
    assert f"| SAD | {mean:.2f} |" in summary
    assert "| P3M-Net (ResNet-34) | 8.73 | 2.60 | 13.88 |" in summary
    assert "NOT COMPARABLE: 3 pictures here" in summary
    assert "no significance is claimed" in summary
    assert "Trimaps: of the data set" in summary
    assert "SYNTHETIC" not in summary
    with Image.open(out / "worst_predictions.jpg") as sheet:
        assert sheet.height > 3 * 192


def test_an_evaluation_is_replaced_only_when_asked(root, capsys):
    out = root / "out"
    assert evaluate(_arguments(root)) == 0
    for name in ("notes.txt", "worst_hybrid.jpg", "worst_idea.jpg", "mattes/predictions/a.png"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("of an earlier evaluation, or mine")
    (out / "mattes" / "predictions" / "mine.png").write_text("mine")
    capsys.readouterr()
    assert evaluate(_arguments(root)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "worst_hybrid.jpg").exists()
    assert evaluate(_arguments(root, "--overwrite", "--worst", 0)) == 0
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        "pictures.csv",
        "results.json",
        "summary.md",
        "notes.txt",
        "worst_idea.jpg",
        "mattes/predictions/mine.png",
    }


@pytest.mark.parametrize("name", ["notes.txt", "results.json"])
def test_what_is_no_evaluation_is_never_replaced(root, capsys, name):
    (root / "out").mkdir()
    (root / "out" / name).write_text('{"results": "mine"}')
    for more in ([], ["--overwrite"]):
        assert evaluate(_arguments(root, *more)) == 1
        assert "holds no evaluation" in capsys.readouterr().err
    assert [path.name for path in (root / "out").iterdir()] == [name]


@pytest.mark.parametrize(
    "place",
    ["theirs", "theirs/out", ".", "data", "data/validation/P3M-500-P/mask", "link", "link/out"],
)
def test_results_never_go_where_pictures_are(root, capsys, place):
    (root / "link").symlink_to(root / "data" / "validation" / "P3M-500-P" / "trimap")
    before = sorted(root.rglob("*"))
    assert evaluate([*_arguments(root, "--overwrite"), "-o", root / place]) == 2
    assert "overlaps with" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_found_out_before_scoring(root, capsys, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setattr(command, "_evaluate_predictions", None)
    for place in ("file", "file/out", "x" * 300):
        assert evaluate([*_arguments(root), "-o", root / place]) == 1
        (message,) = capsys.readouterr().err.strip().splitlines()
        assert "name a" in message


def test_a_picture_that_cannot_be_read_leaves_no_half_results(root, capsys):
    picture = root / "data" / "validation" / "P3M-500-P" / "blurred_image" / "b.jpg"
    picture.write_bytes(b"nothing")
    assert evaluate(_arguments(root)) == 1
    assert "b.jpg" in capsys.readouterr().err
    assert not list((root / "out").iterdir())


def test_names_that_are_no_text_are_reported(root, capsys):
    stem = os.fsdecode(b"caf\xe9")
    folders = [root / "theirs", *(root / "data" / "validation" / "P3M-500-P").iterdir()]
    try:
        for folder in folders:
            (path,) = folder.glob("c.*")
            path.rename(folder / (stem + path.suffix))
    except OSError:
        pytest.skip("this file system takes no such names")
    assert evaluate(_arguments(root)) == 0
    assert "caf\\udce9" in (root / "out" / "pictures.csv").read_text()
    assert (root / "out" / "worst_predictions.jpg").exists()
    assert evaluate(_arguments(root, "--overwrite")) == 0


def test_synthetic_sets_are_announced(root, capsys):
    (root / "data" / "SYNTHETIC.json").write_text("{}")
    assert evaluate(_arguments(root)) == 0
    printed = capsys.readouterr()
    assert "SYNTHETIC" in printed.err
    summary = (root / "out" / "summary.md").read_text()
    assert summary.count("SYNTHETIC") >= 3
    assert "SYNTHETIC, not comparable" in summary
    assert json.loads((root / "out" / "results.json").read_text())["synthetic"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--predictions", "x"],
        ["--predictions", "x", "--checkpoint", "y", "--set", "P3M-500-P", "--data", "z"],
        ["--predictions", "x", "--set", "P3M-500-P"],
        ["--predictions", "x", "--pictures", "a"],
        ["--predictions", "x", "--set", "P3M-500-P", "--data", "z", "--pictures", "a"],
        ["--predictions", "x", "--set", "P3M-500-P", "--data", "z", "--trimaps", "t"],
        ["--predictions", "x", "--pictures", "a", "--mattes", "b", "--save-mattes"],
        ["--predictions", "x", "--pictures", "a", "--mattes", "b", "--strategy", "hybrid"],
        ["--predictions", "x", "--pictures", "a", "--mattes", "b", "--protocol", "ours"],
    ],
)
def test_wrong_options(tmp_path, wrong, capsys):
    assert evaluate([*wrong, "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flag", "value"), [("--workers", 0), ("--worst", -1)])
def test_wrong_numbers(root, capsys, flag, value):
    assert evaluate(_arguments(root, flag, value)) == 2
    assert flag in capsys.readouterr().err.splitlines()[-1]
    assert not (root / "out").exists()


def test_bad_data_ends_with_a_sentence(root, capsys):
    assert evaluate([*_arguments(root), "--facemasks", str(root / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    path = root / "data" / "validation" / "P3M-500-P" / "mask" / "b.png"
    path.write_bytes(path.read_bytes()[:-60])  # the header is intact, the rest is not
    assert evaluate(_arguments(root)) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "b.png" in message
    assert not list((root / "out").iterdir())


def test_foreign_mattes_need_neither_jax_nor_tensorflow(root):
    code = (
        "import sys; from p3m_jax.commands.evaluate import main; code = main(sys.argv[1:]);"
        "assert not {'jax', 'tensorflow'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *_arguments(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for word in ("--checkpoint runs/swin", "p3m-2024", "hybrid", "Exit code"):
        assert word in text


def test_a_checkpoint_is_evaluated_and_its_mattes_score_the_same(tmp_path, capsys):
    """The whole way with a real network: load, predict, save, and score the saved files again."""
    from p3m_jax import checkpoint
    from p3m_jax.models.network import network

    net = network("resnet34")
    description = checkpoint.describe("resnet34", synthetic=True, provenance={"run": "a test"})
    checkpoint.save_for_inference(tmp_path / "weights", net.initialize(0), description)
    matte = _matte((40, 50), 15)  # small enough that every strategy runs at 32 x 32
    write_image(tmp_path / "pictures" / "a.png", np.repeat(matte[..., None], 3, axis=-1))
    write_image(tmp_path / "mattes" / "a.png", matte)
    out = tmp_path / "out"
    data = ["--pictures", str(tmp_path / "pictures"), "--mattes", str(tmp_path / "mattes")]
    more = ["--checkpoint", str(tmp_path / "weights"), "--save-mattes", "-o", str(out)]
    assert evaluate([*data, *more, "--strategy", "resize", "--strategy", "hybrid"]) == 0
    assert "SYNTHETIC" in capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert list(results["results"]) == ["resize", "hybrid"]
    assert results["provenance"]["run"] == "a test"
    assert (out / "worst_hybrid.jpg").exists()
    for strategy in ("resize", "hybrid"):
        again = tmp_path / f"again_{strategy}"
        mattes = out / "mattes" / strategy
        assert evaluate([*data, "--predictions", str(mattes), "-o", str(again)]) == 0
        scored = json.loads((again / "results.json").read_text())["results"]["predictions"]
        (first,), (second,) = results["results"][strategy]["pictures"], scored["pictures"]
        # Up to the last bits: OpenCV sums in an order that depends on where arrays lie in memory.
        assert first.pop("stem") == second.pop("stem")
        assert first == pytest.approx(second, rel=1e-9)
    # Another evaluation in its place leaves no mattes behind that it has not made.
    assert evaluate([*data, *more, "--strategy", "hybrid", "--overwrite"]) == 0
    assert [path.name for path in (out / "mattes").iterdir()] == ["hybrid"]
    assert [path.name for path in (out / "mattes" / "hybrid").iterdir()] == ["a.png"]
    assert not (out / "worst_resize.jpg").exists()


def test_an_unusable_checkpoint_ends_with_a_sentence(root, capsys):
    data = ["--set", "P3M-500-P", "--data", str(root / "data"), "-o", str(root / "out")]
    assert evaluate([*data, "--checkpoint", str(root / "nothing")]) == 1
    error = capsys.readouterr().err
    assert "nothing" in error
    assert "Traceback" not in error


def test_the_program_in_the_clone_is_the_command(root):
    done = subprocess.run(
        [sys.executable, ROOT / "evaluate.py", *_arguments(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (root / "out" / "results.json").exists()


def test_intervals_reach_the_summary():
    rows = [{"stem": str(i), "height": 1, "width": 1, "SAD": float(i)} for i in range(40)]
    evaluation = Evaluation("mine", "x", "ours", "said", "made", rows={"resize": rows})
    summary = make_report(evaluation)["summary.md"]
    assert "95 % bootstrap" in summary
    assert "no significance" not in summary
    assert "| SAD | 19.50 [1" in summary
