"""Every benchmark once with --quick, so that what the documentation quotes can be run again."""

import contextlib
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RELEASE

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / "benchmarks"
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), FOLDER / "README.md"]

# Of each benchmark: the first cells of the rows of its tables, and the rows of its report. Those
# that start processes or compile training steps are slow.
WAYS = [["as it is", "1", "1", "1", "0"], ["65% of the face at the edge", "1"]]
VARIANTS = [["sface", variant] for variant in ("none", "blur 0.04", "mosaic 0.0625", "fill")]
QUICK = [
    ("checksums", [["small", "weights"], ["small", "training state"]], 2, ()),
    ("growth", [["small", s, n] for s in ("resize", "hybrid") for n in ("96", "192")], 4, ()),
    ("metrics", [["p3m_jax"], ["plain NumPy and SciPy"]], 2, ()),
    ("prediction", [["small", "64 x 96", s, "ours"] for s in ("resize", "hybrid")], 2, ()),
    ("privacy_hard", WAYS, 2, ()),
    ("privacy_large", [["800x600", "upright"], ["800x600", "turned"]], 1, ()),
    ("privacy_recall", [["native", "1", "1", "1"], ["largest face 48 px", "1", "1"]], 2, ()),
    ("privacy_reidentification", VARIANTS, 24, ()),
    ("stages", [["forward rest"]], 1, ()),
    ("accelerators", [["small", "float32"]], 1, RELEASE),
    ("folder", [["small", "hybrid", "cold"], ["small", "hybrid", "warm"]], 2, pytest.mark.slow),
    ("preparation", [["estimate", "threads", "2"], ["estimate", "threads", "4"]], 2, RELEASE),
    ("privacy_collection", [["released", "1 (100%)"]], 1, pytest.mark.slow),
    ("startup", [["p3m --help"], ["first picture, warm"]], 3, RELEASE),
    ("input_pipeline", [["with composition"], ["flip a picture"]], 9, RELEASE),
    ("training", [["small", "32", "ours"]], 1, pytest.mark.slow),
    ("copy_paste", [["small", "stage2"]], 1, RELEASE),
]
NEEDS = {
    "copy_paste_sheet": "--data or --synthetic must be given.",
    "folder": "--data: a folder of pictures is needed.",
    "preparation": "--pair: at least one folder of pictures and one of their mattes are needed.",
    "privacy_collection": "FOLDER and -o: a folder of pictures, and a folder for the copies, are",
    "privacy_hard": "--faces: a folder with faces.json and pictures/ is needed.",
    "privacy_large": "--faces: a folder with faces.json and pictures/ is needed.",
    "privacy_recall": "--faces: a folder with faces.json and pictures/ is needed.",
    "privacy_reidentification": "--people and --distractors: two folders of pictures are needed.",
}


@pytest.fixture
def main_of(monkeypatch, tmp_path):
    """The `main` of a benchmark by its name, as the interpreter finds it in its folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)  # a benchmark may change to another folder
    return lambda name: importlib.import_module(name).main


def tables_in(printed: str) -> list[list[str]]:
    """The cells of all rows of tables, with the titles."""
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers_in(one)
    elif isinstance(value, (int, float)):
        yield value


@pytest.mark.parametrize(
    ("name", "expected", "rows"), [pytest.param(*q[:3], id=q[0], marks=q[3]) for q in QUICK]
)
def test_quick(name, expected, rows, main_of, tmp_path, capsys):
    assert not main_of(name)(["--quick", "--json", str(tmp_path / "report.json")])
    printed = capsys.readouterr().out
    assert printed.startswith("--quick: the smallest sizes once; these figures mean nothing.")
    table = tables_in(printed)
    for first in expected:
        assert any(row[: len(first)] == first for row in table), (first, printed)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["versions"]["ours"]["jax"]
    assert report["settings"]["quick"]
    assert len(report["rows"]) == rows
    found = [number for number in numbers_in(report["rows"]) if not math.isnan(number)]
    assert found
    assert all(math.isfinite(number) for number in found)


@pytest.mark.slow
@pytest.mark.release
def test_a_sheet_of_pasted_faces(main_of, tmp_path, capsys):
    from p3m_jax.pictures.images import read_picture

    main_of("copy_paste_sheet")(["--quick", "-o", str(tmp_path / "sheet.png")])
    assert "plain, augment" in capsys.readouterr().out
    plain, *pasted = read_picture(tmp_path / "sheet.png").reshape(4, 64, -1, 3)
    assert all((row != plain).any() for row in pasted)


@pytest.mark.parametrize("name", NEEDS)
def test_what_is_missing_is_one_sentence(name, main_of, tmp_path, capsys):
    needed = ["-o", str(tmp_path / "sheet.png")] if name == "copy_paste_sheet" else []
    with pytest.raises(SystemExit) as ended:
        main_of(name)(needed)
    assert ended.value.code == 2
    assert NEEDS[name] in capsys.readouterr().err


def test_without_the_compiler_for_tpus(main_of, capsys):
    with contextlib.suppress(ImportError):
        importlib.import_module("libtpu")
        pytest.skip("the compiler for TPUs is installed")
    with pytest.raises(SystemExit) as ended:
        main_of("accelerators")([])
    assert ended.value.code == 2
    assert "pip install libtpu" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.release
def test_sides_as_processes(main_of, tmp_path, capsys):
    """What --quick does in one process: ours loads, mattes and answers in another."""
    options = ["--networks", "resnet34", "--sizes", "64x64", "--strategies", "resize"]
    report = tmp_path / "report.json"
    main_of("prediction")([*options, "--sides", "ours", "--runs", "1", "--json", str(report)])
    (row,) = json.loads(report.read_text())["rows"]
    assert row["side"] == "ours"
    assert 0 < row["part_seconds"] <= row["seconds"]
    assert row["compiling"]["seconds"] > row["seconds"]
    assert tables_in(capsys.readouterr().out)[1][:4] == ["resnet34", "64 x 64", "resize", "ours"]


def test_every_benchmark_is_tried_and_listed():
    """A program has a `main`; the others are parts of them."""
    programs = {file.stem for file in FOLDER.glob("*.py") if "\ndef main(" in file.read_text()}
    assert programs == {name for name, *_ in QUICK} | {"copy_paste_sheet"}
    listed = re.findall(r"^\| `(\w+)\.py` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(programs) == sorted(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_name_what_exists(page):
    """The file, and the options as its parser declares them."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    for name, rest in re.findall(r"benchmarks/([\w/]+)\.py([^`\n]*)", text):
        source = (FOLDER / f"{name}.py").read_text("utf-8")
        shared = "".join((FOLDER / f"{n}.py").read_text() for n in ("command_line", "sides"))
        for option in re.findall(r" (--[a-z][a-z-]*)", rest):
            assert f'"{option}"' in source + shared, (name, option)


def test_help_says_how_it_is_called():
    """As a user runs it, from the folder of the clone."""
    done = subprocess.run(
        [sys.executable, "benchmarks/metrics.py", "--help"], cwd=PROJECT, capture_output=True
    )
    assert done.returncode == 0
    assert b"python benchmarks/metrics.py" in done.stdout
