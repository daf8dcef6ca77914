"""Which pictures `p3m predict` finds, and what it says of those that it leaves out."""

from pathlib import PurePath

import pytest
from PIL import Image

from p3m_jax.collection.plan import PlanError, make_plan


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
    assert notes == (f"{pictures / 'first'}: leads to a folder that was visited, left out",)


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
    assert notes == (f"{pictures / 'alpha'}: outputs of this command, left out",)


def test_own_pictures_in_the_output_folder_are_told_of(pictures):
    put(pictures / "out/alpha/a.png")
    assert plan_of(pictures, "in/out") == ({"a", "own/b", "own/deep/c"}, ())
    put(pictures / "out/mine/e.png")
    names, notes = plan_of(pictures, "in/out")
    assert names == {"a", "own/b", "own/deep/c"}
    assert notes == (f"{pictures / 'out'}: the output folder is left out, with pictures of yours",)


def test_outputs_among_the_pictures_are_refused(pictures):
    with pytest.raises(PlanError, match="among the pictures"):
        plan_of(pictures, "in")
    plan = make_plan([pictures / "own"], pictures, {"alpha": "png"})
    assert {job.outputs["alpha"] for job in plan.jobs} == {
        PurePath("alpha/b.png"),
        PurePath("alpha/deep/c.png"),
    }
