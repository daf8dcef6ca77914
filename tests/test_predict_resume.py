"""What `p3m predict` leaves alone when it is started again, and what it does anew."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from p3m_jax.images import write_image

RNG = np.random.default_rng(0)
PROGRAM = "import sys; from p3m_jax.cli import main; sys.exit(main())"


def picture_of():
    return RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    pictures, mattes, out = (tmp_path / name for name in ("pictures", "mattes", "out"))
    for name in "ab":
        write_image(pictures / f"{name}.png", picture_of())
        write_image(mattes / f"{name}.png", RNG.integers(0, 256, (20, 30)).astype(np.uint8))
    return pictures, mattes, out


@pytest.fixture
def predict(p3m, folders):
    pictures, mattes, out = folders
    return lambda *more: p3m("predict", pictures, "-o", out, "--alphas", mattes, *more)


def entries(out):
    lines = (out / "manifest.jsonl").read_text().splitlines()
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def touch_up(file):
    Image.new("L", (30, 20), 77).save(file)
    return file.read_bytes()


def test_a_picture_that_was_unreadable_once_keeps_its_touched_up_matte(predict, folders, capsys):
    pictures, _, out = folders
    assert predict() == 0
    edited = touch_up(out / "alpha/a.png")
    intact = (pictures / "a.png").read_bytes()
    (pictures / "a.png").write_bytes(b"")
    assert predict() == 1
    assert entries(out)["a"]["status"] == "failed"
    assert "is empty" in entries(out)["a"]["reason"]
    (pictures / "a.png").write_bytes(intact)
    assert predict() == 0
    assert "0 done, 2 were done before" in capsys.readouterr().out
    assert (out / "alpha/a.png").read_bytes() == edited
    assert entries(out)["a"]["status"] == "done"
    assert "reason" not in entries(out)["a"]


def test_killed_while_one_kind_was_written_the_other_stays(predict, folders):
    out = folders[2]
    assert predict("--save", "alpha", "cutout") == 0
    edited = touch_up(out / "alpha/a.png")
    whole = (out / "cutout/a.png").read_bytes()
    entry = entries(out)["a"]  # as a run leaves it that is killed while it writes the cut-out
    started = {**entry, "status": "started", "writing": ["cutout/a.png"]}
    with (out / "manifest.jsonl").open("a") as file:
        file.write(json.dumps(started) + "\n")
    touch_up(out / "cutout/a.png")
    assert predict("--save", "alpha", "cutout") == 0
    assert (out / "alpha/a.png").read_bytes() == edited
    assert (out / "cutout/a.png").read_bytes() == whole
    assert entries(out)["a"]["writing"] == []


def test_what_is_being_written_is_noted_alone(predict, folders):
    out = folders[2]
    assert predict("--save", "alpha", "cutout") == 0
    edited = touch_up(out / "alpha/a.png")
    (out / "cutout/a.png").unlink()
    (out / "cutout/a.png").mkdir()  # so that it cannot be written
    assert predict("--save", "alpha", "cutout") == 1
    assert entries(out)["a"]["writing"] == ["cutout/a.png"]
    (out / "cutout/a.png").rmdir()
    assert predict("--save", "alpha", "cutout") == 0
    assert entries(out)["a"]["writing"] == []
    assert (out / "alpha/a.png").read_bytes() == edited


def test_another_kind_or_format_is_free(predict, folders, capsys):
    out = folders[2]
    assert predict() == 0
    assert predict("--save", "cutout") == 0
    assert predict("--save", "alpha", "cutout", "foreground") == 0
    assert predict("--save", "foreground", "--format", "jpg") == 0
    written = {str(path): path.stat().st_mtime_ns for path in out.rglob("?.*")}
    capsys.readouterr()
    for again in (
        (),
        ("--save", "cutout"),
        ("--save", "cutout", "alpha", "foreground"),
        ("--save", "foreground", "--format", "jpg"),
    ):
        assert predict(*again) == 0
        assert "0 done, 2 were done before" in capsys.readouterr().out
    assert {str(path): path.stat().st_mtime_ns for path in out.rglob("?.*")} == written
    assert predict("--save", "foreground", "--format", "jpg", "--quality", 50) == 1
    assert "quality was 95, now 50" in capsys.readouterr().err


def test_one_kind_done_anew_leaves_the_other_as_made_from_the_former_picture(
    predict, folders, capsys
):
    pictures = folders[0]
    assert predict("--save", "alpha", "cutout") == 0
    write_image(pictures / "a.png", picture_of())
    assert predict("--overwrite") == 0
    assert predict("--save", "cutout") == 1
    assert "a.png: has changed since it was matted" in capsys.readouterr().err
    assert predict("--save", "cutout", "--overwrite") == 0


def test_an_emptied_output_is_made_again(predict, folders, capsys):
    out = folders[2]
    assert predict() == 0
    whole = (out / "alpha/b.png").read_bytes()
    (out / "alpha/b.png").write_bytes(b"")
    assert predict() == 0
    assert "1 done, 1 were done before" in capsys.readouterr().out
    assert (out / "alpha/b.png").read_bytes() == whole


@pytest.mark.parametrize("output", ["", "below"])
def test_given_mattes_are_never_replaced(p3m, folders, capsys, output):
    pictures, mattes, out = folders
    mattes.rename(out.parent / "alpha")
    mattes = out.parent / "alpha"
    before = {file.name: file.read_bytes() for file in mattes.iterdir()}
    out = mattes / output if output else mattes.parent
    arguments = ("predict", pictures, "-o", out, "--alphas", mattes, "--overwrite")
    assert p3m(*arguments, "--save", "alpha", "cutout") == 1
    assert "would come among these mattes" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in mattes.iterdir()} == before
    assert p3m(*arguments, "--save", "cutout") == 0


def test_a_background_is_never_replaced(predict, folders, capsys):
    background = folders[2] / "composite" / "a.png"
    write_image(background, picture_of())
    before = background.read_bytes()
    assert predict("--save", "composite", "--background", background, "--overwrite") == 1
    assert "is the background and would be an output" in capsys.readouterr().err
    assert background.read_bytes() == before


def test_a_background_is_known_by_its_content(predict, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image(tmp_path / "behind.png", picture_of())
    assert predict("--save", "composite", "--background", tmp_path / "behind.png") == 0
    assert predict("--save", "composite", "--background", "~/behind.png") == 0
    assert "0 done, 2 were done before" in capsys.readouterr().out
    write_image(tmp_path / "behind.png", picture_of())
    assert predict("--save", "composite", "--background", "~/behind.png") == 1


def test_an_old_or_foreign_manifest_protects_what_is_there(predict, folders, capsys):
    out = folders[2]
    (out / "alpha").mkdir(parents=True)
    before = touch_up(out / "alpha/a.png")
    line = {"name": "a", "status": "done", "settings": {}, "outputs": {"alpha": "alpha/a.png"}}
    (out / "manifest.jsonl").write_text(f"[]\n3\n{json.dumps(line)}\n")
    assert predict() == 1
    assert "say --overwrite" in capsys.readouterr().err
    assert (out / "alpha/a.png").read_bytes() == before


def test_of_two_processes_on_one_folder_one_writes(folders):
    pictures, mattes, out = folders
    for i in range(12):
        write_image(pictures / f"{i}.png", RNG.integers(0, 256, (300, 400, 3)).astype(np.uint8))
        write_image(mattes / f"{i}.png", RNG.integers(0, 256, (300, 400)).astype(np.uint8))
    arguments = ["predict", str(pictures), "-o", str(out), "--alphas", str(mattes)]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ends = [(process.communicate()[1].decode(), process.returncode) for process in processes]
    for error, code in ends:  # at the same time or one after the other
        assert "Traceback" not in error
        assert code == 0 or "another process is writing there" in error
    assert 0 in {code for _, code in ends}
    assert len(list((out / "alpha").iterdir())) == 14
    assert len(entries(out)) == 14
