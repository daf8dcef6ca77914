"""Evaluating as a user meets it: evaluate.py, its reports and what it refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluating import arguments, disc, evaluate, write_set
from PIL import Image
from small_network import SmallNetwork, found_by_name

from p3m_jax.commands import evaluate as command
from p3m_jax.evaluation.report import Evaluation, make_report
from p3m_jax.pictures.images import write_image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path)


def test_the_command_writes_what_it_says(root, capsys):
    folders = sorted(path for path in root.rglob("*") if path.is_dir())
    for folder in folders:
        (folder / "film.mp4").touch()
    assert evaluate(arguments(root)) == 0
    captured = capsys.readouterr()
    printed = captured.out
    assert captured.err.count("1 .mp4 (film.mp4).\n") >= 3  # pictures, mattes, predictions
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
    assert "no significance can be claimed" in summary
    assert "Trimaps: from the data set" in summary
    assert "SYNTHETIC" not in summary
    with Image.open(out / "worst_predictions.jpg") as sheet:
        assert sheet.height > 3 * 192


def test_an_evaluation_is_replaced_only_when_asked(root, capsys):
    out = root / "out"
    assert evaluate(arguments(root)) == 0
    for name in ("notes.txt", "worst_hybrid.jpg", "worst_idea.jpg", "mattes/predictions/a.png"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("of an earlier evaluation, or mine")
    (out / "mattes" / "predictions" / "mine.png").write_text("mine")
    capsys.readouterr()
    assert evaluate(arguments(root)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "worst_hybrid.jpg").exists()
    assert evaluate(arguments(root, "--overwrite", "--worst", 0)) == 0
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
        assert evaluate(arguments(root, *more)) == 1
        assert "holds no evaluation" in capsys.readouterr().err
    assert [path.name for path in (root / "out").iterdir()] == [name]


@pytest.mark.parametrize(
    "place",
    ["theirs", "theirs/out", ".", "data", "data/validation/P3M-500-P/mask", "link", "link/out"],
)
def test_results_never_go_where_pictures_are(root, capsys, place):
    (root / "link").symlink_to(root / "data" / "validation" / "P3M-500-P" / "trimap")
    before = sorted(root.rglob("*"))
    assert evaluate([*arguments(root, "--overwrite"), "-o", root / place]) == 2
    assert "overlaps with" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_found_out_before_scoring(root, capsys, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setattr(command, "_evaluate_predictions", None)
    for place in ("file", "file/out", "x" * 300):
        assert evaluate([*arguments(root), "-o", root / place]) == 1
        (message,) = capsys.readouterr().err.strip().splitlines()
        assert "with -o." in message


def test_a_picture_that_cannot_be_read_leaves_no_half_results(root, capsys):
    picture = root / "data" / "validation" / "P3M-500-P" / "blurred_image" / "b.jpg"
    picture.write_bytes(b"nothing")
    assert evaluate(arguments(root)) == 1
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
    assert evaluate(arguments(root)) == 0
    assert "caf\\udce9" in (root / "out" / "pictures.csv").read_text()
    assert (root / "out" / "worst_predictions.jpg").exists()
    assert evaluate(arguments(root, "--overwrite")) == 0


def test_synthetic_sets_are_announced(root, capsys):
    (root / "data" / "SYNTHETIC.json").write_text("{}")
    assert evaluate(arguments(root)) == 0
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
    assert evaluate(arguments(root, flag, value)) == 2
    assert flag in capsys.readouterr().err.splitlines()[-1]
    assert not (root / "out").exists()


def test_bad_data_ends_with_a_sentence(root, capsys):
    assert evaluate([*arguments(root), "--facemasks", str(root / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    path = root / "data" / "validation" / "P3M-500-P" / "mask" / "b.png"
    path.write_bytes(path.read_bytes()[:-60])  # the header is intact, the rest is not
    assert evaluate(arguments(root)) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "b.png" in message
    assert not list((root / "out").iterdir())


def test_foreign_mattes_need_neither_jax_nor_tensorflow(root):
    code = (
        "import sys; from p3m_jax.commands.evaluate import main; code = main(sys.argv[1:]);"
        "assert not {'jax', 'tensorflow'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments(root)], capture_output=True, text=True, check=False
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
    """The whole way with a network: load, predict, save, and score the saved files again."""
    from p3m_jax.checkpoints import weights as checkpoint

    found_by_name()
    net = SmallNetwork()
    description = checkpoint.describe("small", synthetic=True, provenance={"run": "a test"})
    checkpoint.save_for_inference(tmp_path / "weights", net.initialize(0), description)
    matte = disc((40, 50), 15)  # small enough that every strategy runs at 32 x 32
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
        [sys.executable, ROOT / "evaluate.py", *arguments(root)],
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
