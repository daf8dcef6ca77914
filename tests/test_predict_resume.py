"""What `p3m predict` leaves alone when it is started again, and what it does anew."""

import json

import pytest
from PIL import Image
from predicting import manifest, matte_of, picture_of, tree

from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.labels import read_alpha


@pytest.fixture
def folders(tmp_path):
    """Pictures, their mattes, and where outputs go."""
    pictures, mattes = tmp_path / "pictures", tmp_path / "mattes"
    for name in ("a", "deep/b"):
        write_image(pictures / f"{name}.png", picture_of())
        write_image(mattes / f"{name}.png", matte_of())
    return pictures, mattes, tmp_path / "out"


@pytest.fixture
def predict(p3m, folders):
    pictures, mattes, out = folders
    return lambda *more: p3m("predict", pictures, "-o", out, "--alphas", mattes, *more)


def entries(out):
    return {entry["name"]: entry for entry in manifest(out)}


def touch_up(file):
    Image.new("L", (60, 40), 77).save(file)
    return file.read_bytes()


def test_the_same_command_does_nothing_again(predict, folders, capsys):
    _, _, out = folders
    assert predict("--save", "alpha", "cutout") == 0
    before = tree(out)
    assert predict("--save", "alpha", "cutout") == 0
    assert tree(out) == before
    assert "0 done, 2 already done" in capsys.readouterr().out
    (out / "cutout" / "a.png").unlink()
    assert predict("--save", "alpha", "cutout") == 0
    after = tree(out)
    assert after["cutout/a.png"][0] == before["cutout/a.png"][0]
    assert after["alpha/a.png"] == before["alpha/a.png"]


def test_other_settings_are_refused_and_name_the_difference(predict, folders, capsys):
    out = folders[2]
    assert predict("--save", "cutout") == 0
    before = tree(out)
    assert predict("--save", "cutout", "--keep-metadata") == 1
    assert "keep_metadata was false, now true" in capsys.readouterr().err
    assert tree(out) == before
    assert predict("--save", "cutout", "--keep-metadata", "--overwrite") == 0
    made = [how for entry in manifest(out) for how in entry["outputs"].values()]
    assert all(how["settings"]["keep_metadata"] for how in made)


@pytest.mark.parametrize("changed", ["picture", "matte"])
def test_a_changed_input_is_done_again_only_if_asked(predict, folders, capsys, changed):
    pictures, mattes, out = folders
    assert predict() == 0
    before = tree(out)
    if changed == "picture":
        write_image(pictures / "a.png", picture_of())
    else:
        write_image(mattes / "a.png", 255 - matte_of())
    assert predict() == 1
    captured = capsys.readouterr()
    assert (
        "a.png: the picture, or a file provided for it, has changed since it was matted"
        in captured.err
    )
    assert "0 done, 1 already done, 1 failed" in captured.out
    assert tree(out) == before
    assert predict("--overwrite") == 0
    assert "1 done, 1 already done" in capsys.readouterr().out


def test_files_of_the_user_are_never_replaced_unasked(predict, folders, capsys):
    out = folders[2]
    (out / "alpha" / "deep").mkdir(parents=True)
    (out / "alpha" / "deep" / "b.png").write_text("mine")
    assert predict() == 1
    assert "b.png: already present, but not written from this picture" in capsys.readouterr().err
    assert set(tree(out)) == {"alpha/deep/b.png"}
    assert predict("--overwrite") == 0
    assert read_alpha(out / "alpha/deep/b.png").shape == (40, 60)


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
    assert "0 done, 2 already done" in capsys.readouterr().out
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
        assert "0 done, 2 already done" in capsys.readouterr().out
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
    assert (
        "a.png: the picture, or a file provided for it, has changed since it was matted"
        in capsys.readouterr().err
    )
    assert predict("--save", "cutout", "--overwrite") == 0


def test_an_emptied_output_is_made_again(predict, folders, capsys):
    out = folders[2]
    assert predict() == 0
    whole = (out / "alpha/deep/b.png").read_bytes()
    (out / "alpha/deep/b.png").write_bytes(b"")
    assert predict() == 0
    assert "1 done, 1 already done" in capsys.readouterr().out
    assert (out / "alpha/deep/b.png").read_bytes() == whole


@pytest.mark.parametrize("output", ["", "below"])
def test_given_mattes_are_never_replaced(p3m, folders, capsys, output):
    pictures, mattes, out = folders
    mattes.rename(out.parent / "alpha")
    mattes = out.parent / "alpha"
    before = tree(mattes)
    out = mattes / output if output else mattes.parent
    arguments = ("predict", pictures, "-o", out, "--alphas", mattes, "--overwrite")
    assert p3m(*arguments, "--save", "alpha", "cutout") == 1
    assert "would be mixed with these mattes" in capsys.readouterr().err
    assert tree(mattes) == before
    assert p3m(*arguments, "--save", "cutout") == 0


def test_a_background_is_never_replaced(predict, folders, capsys):
    background = folders[2] / "composite" / "a.png"
    write_image(background, picture_of())
    before = background.read_bytes()
    assert predict("--save", "composite", "--background", background, "--overwrite") == 1
    assert "is the background and would be replaced by an output" in capsys.readouterr().err
    assert background.read_bytes() == before


def test_a_background_is_known_by_its_content(predict, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image(tmp_path / "behind.png", picture_of())
    assert predict("--save", "composite", "--background", tmp_path / "behind.png") == 0
    assert predict("--save", "composite", "--background", "~/behind.png") == 0
    assert "0 done, 2 already done" in capsys.readouterr().out
    write_image(tmp_path / "behind.png", picture_of())
    assert predict("--save", "composite", "--background", "~/behind.png") == 1


def test_an_old_or_foreign_manifest_protects_what_is_there(predict, folders, capsys):
    out = folders[2]
    (out / "alpha").mkdir(parents=True)
    before = touch_up(out / "alpha/a.png")
    line = {"name": "a", "status": "done", "settings": {}, "outputs": {"alpha": "alpha/a.png"}}
    (out / "manifest.jsonl").write_text(f"[]\n3\n{json.dumps(line)}\n")
    assert predict() == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert (out / "alpha/a.png").read_bytes() == before


def test_shares_do_every_picture_once_and_become_one(predict, folders, capsys):
    pictures, mattes, out = folders
    for name in "cdefg":
        write_image(pictures / f"{name}.png", picture_of())
        write_image(mattes / f"{name}.png", matte_of())
    for index in (1, 0):
        assert predict("--share", f"{index}/2") == 0
        assert "0 already done, 0 failed" in capsys.readouterr().out
    parts = sorted(path.name for path in out.iterdir() if path.is_file())
    assert parts == ["manifest-0-of-2.jsonl", "manifest-1-of-2.jsonl"]
    lines = [line for part in parts for line in (out / part).read_text().splitlines()]
    assert sorted(json.loads(line)["name"] for line in lines) == [*"acd", "deep/b", *"efg"]
    assert predict() == 0
    assert "0 done, 7 already done" in capsys.readouterr().out
    assert [path.name for path in out.iterdir() if path.is_file()] == ["manifest.jsonl"]
    assert entries(out).keys() == {*"acdefg", "deep/b"}
    assert predict("--share", "0/3") == 0  # what is known of all is known to a share
    assert "0 done, 3 already done" in capsys.readouterr().out
    for wrong in ("2/2", "1", "a/b"):
        assert predict("--share", wrong) == 2
