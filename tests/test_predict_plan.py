"""Which pictures `p3m predict` finds, and what it says of those that it leaves out."""

import os
import sys
import tempfile
from pathlib import Path, PurePath

import pytest
from PIL import Image

from p3m_jax.jobs.plan import PlanError, make_plan
from p3m_jax.pictures import formats


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "own/b.png", "own/deep/c.png"):
        put(folder / name)
    return folder


def put(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2)).save(file)


def plan_of(pictures, output="elsewhere"):
    plan = make_plan([pictures], pictures.parent / output, {"alpha": "png"})
    return {str(job.name) for job in plan.jobs}, plan.notes


def test_a_link_does_not_take_the_place_of_its_folder(pictures):
    (pictures / "first").symlink_to("own")
    names, notes = plan_of(pictures)
    assert names == {"a", "own/b", "own/deep/c"}
    assert notes == (f"{pictures / 'first'}: leads to a folder that was already searched, skipped",)


def test_links_to_other_folders_are_followed_once(pictures, tmp_path):
    put(tmp_path / "other/sub/d.png")
    (tmp_path / "other/back").symlink_to(pictures)
    (pictures / "x").symlink_to(tmp_path / "other")
    (pictures / "y").symlink_to(tmp_path / "other")
    names, notes = plan_of(pictures)
    assert names == {"a", "own/b", "own/deep/c", "x/sub/d"}
    assert {note.split(":")[0] for note in notes} == {str(pictures / n) for n in ("x/back", "y")}


def test_outputs_of_an_earlier_run_are_no_pictures(pictures):
    put(pictures / "alpha/a.png")
    put(pictures / "own/cutout/b.png")
    (pictures / "manifest.jsonl").touch()
    names, notes = plan_of(pictures)
    assert names == {"a", "own/b", "own/deep/c", "own/cutout/b"}
    assert notes == (f"{pictures / 'alpha'}: outputs of this command, skipped",)


def test_own_pictures_in_the_output_folder_are_told_of(pictures):
    put(pictures / "out/alpha/a.png")
    assert plan_of(pictures, "in/out") == ({"a", "own/b", "own/deep/c"}, ())
    put(pictures / "out/mine/e.png")
    names, notes = plan_of(pictures, "in/out")
    assert names == {"a", "own/b", "own/deep/c"}
    assert notes == (
        f"{pictures / 'out'}: the output folder is not searched, though it holds other pictures",
    )


def test_outputs_among_the_pictures_are_refused(pictures):
    with pytest.raises(PlanError, match="mixed with the pictures"):
        plan_of(pictures, "in")
    plan = make_plan([pictures / "own"], pictures, {"alpha": "png"})
    assert {job.outputs["alpha"] for job in plan.jobs} == {
        PurePath("alpha/b.png"),
        PurePath("alpha/deep/c.png"),
    }


def test_a_raw_file_fails_and_collides_with_nothing(pictures):
    for name in ("IMG_1.JPG", "IMG_1.CR2", "own/x.NEF", "own/x.nef.png", "layers.psd"):
        put(pictures / "some.png")
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes((pictures / "some.png").read_bytes())
    plan = make_plan([pictures], pictures.parent / "elsewhere", {"alpha": "png"})
    refused = {str(job.name): job for job in plan.jobs if job.refused}
    assert set(refused) == {"IMG_1.CR2", "own/x.NEF", "layers.psd"}
    assert all(job.outputs == {} and job.twin is None for job in refused.values())
    start = f"{pictures / 'IMG_1.CR2'}: is a camera's raw file"
    assert refused["IMG_1.CR2"].refused.startswith(start)
    done = {str(job.name): job for job in plan.jobs if not job.refused}
    assert set(done) == {"a", "own/b", "own/deep/c", "some", "IMG_1", "own/x.nef"}
    assert done["IMG_1"].twin is None  # a matte IMG_1.png is surely for the JPEG
    full = make_plan([pictures], pictures.parent / "e", {"alpha": "png"}, full_names=True)
    assert {job.twin for job in full.jobs} == {None}


def test_a_file_that_is_named_is_tried_whatever_it_is_called(pictures):
    (pictures / "a.png").rename(pictures / "a.nef")
    plan = make_plan([pictures / "a.nef"], pictures.parent / "elsewhere", {"alpha": "png"})
    assert [job.refused for job in plan.jobs] == [None]


def test_what_is_left_out_is_counted_and_named(pictures):
    for name in ("@eaDir/SYNO.jpg", ".thumbnails/t.png", "own/__MACOSX/m.png", "own/._b.png"):
        put(pictures / name)
    others = ("1.mp4", "2.mp4", "own/3.MP4", "4.mp4", "doc.pdf", "x.hdr", "y.jps", "README", ".DS")
    for name in others:
        (pictures / name).touch()
    plan = make_plan([pictures], pictures.parent / "elsewhere", {"alpha": "png"})
    assert {str(job.name) for job in plan.jobs} == {"a", "own/b", "own/deep/c"}
    assert plan.left_out == (
        "1 .hdr (x.hdr), 1 .jps (y.jps), 4 .mp4 (1.mp4, 2.mp4, 4.mp4, ...), 1 .pdf (doc.pdf), "
        "1 hidden (own/._b.png), "
        "3 system or hidden folders (.thumbnails, @eaDir, own/__MACOSX), "
        "1 without an ending (README)"
    )
    (pictures.parent / "films").mkdir()
    (pictures.parent / "films/1.mp4").touch()
    with pytest.raises(PlanError, match=r"holds no pictures .* but 1 \.mp4 \(1\.mp4\)"):
        make_plan([pictures.parent / "films"], pictures.parent / "elsewhere", {"alpha": "png"})


@pytest.mark.parametrize("ending", ["jpe", "jfif", "mpo"])
def test_jpeg_files_of_all_names_are_pictures(pictures, ending):
    Image.new("L", (2, 2)).save(pictures / f"b.{ending}", "JPEG")
    assert plan_of(pictures)[0] == {"a", "b", "own/b", "own/deep/c"}


def test_heic_is_tried_where_it_is_read(pictures, monkeypatch):
    (pictures / "a.heic").touch()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats.reads_heif.cache_clear()
    try:
        plan = make_plan([pictures], pictures.parent / "elsewhere", {"alpha": "png"})
        (refused,) = (job.refused for job in plan.jobs if job.refused)
        assert '".[heif]"' in refused
    finally:
        formats.reads_heif.cache_clear()
        monkeypatch.undo()
    if formats.reads_heif():
        with pytest.raises(PlanError, match="would both become"):
            plan_of(pictures)


@pytest.fixture
def readable_by_all():
    """A folder that other users may enter, and this process as one whom permissions stop."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # $TMPDIR may be closed to others
        folder = Path(name)
        folder.chmod(0o755)
        own = os.geteuid()
        if own == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(own)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="not a Unix system")
def test_a_closed_folder_does_not_end_the_run(readable_by_all):
    folder = readable_by_all / "in"
    for name in ("a.png", "closed/b.png", "open/c.png"):
        put(folder / name)
    (folder / "closed").chmod(0)
    try:
        plan = make_plan([folder], readable_by_all / "elsewhere", {"alpha": "png"})
        assert [str(job.name) for job in plan.jobs] == ["a", "open/c"]
        (sentence,) = plan.closed
        assert sentence.startswith(f"{folder / 'closed'}: cannot be searched (Permission denied")
        with pytest.raises(PlanError, match="cannot be searched"):
            make_plan([folder / "closed"], readable_by_all / "elsewhere", {"alpha": "png"})
    finally:
        (folder / "closed").chmod(0o755)
