"""What is not released: doubts, given masks, proposals, and the review list."""

import json
import shutil

import cv2
import numpy as np
import pytest
from anonymizing import (
    anonymize,
    finder,
    found,
    inside,
    listed,
    mask_of,
    one_picture,
    painted,
    proposals,
    sheets,
)
from PIL import Image
from predicting import manifest, tree

from p3m_jax.anonymizing.doubts import STILL_FOUND, doubts_about
from p3m_jax.anonymizing.review import ReviewList
from p3m_jax.anonymizing.work import NOT_REVIEWED
from p3m_jax.faces.areas import MOSTLY_TRANSITION, NO_FACE, NOT_IN_MASK, PrivateAreas
from p3m_jax.faces.finding import AT_EDGE, COVERED, LOW_SCORE
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.jobs.plan import make_plan
from p3m_jax.pictures.images import read_picture, write_image


@pytest.fixture
def folders(tmp_path):
    return one_picture(tmp_path)


@pytest.mark.parametrize("doubt", [LOW_SCORE, COVERED, AT_EDGE, NO_FACE, STILL_FOUND])
def test_nothing_that_is_not_sure_is_passed_on(folders, doubt):
    look = {NO_FACE: lambda _: [], STILL_FOUND: lambda _: [found()]}.get(doubt, finder(doubt))
    outcome, _ = anonymize(*folders, look)
    assert outcome.done == 0
    assert outcome.waiting == [(folders[0] / "deep/a.png", (doubt,))]
    assert outcome.failed == []
    out = folders[1]
    assert all(name.startswith("keep_private/review/") for name in tree(out))
    entry = listed(out)["deep/a"]
    assert entry["reasons"] == [doubt]
    assert entry["sheet"] == sheets(out)[0] == "sheet_001.jpg"
    mask = np.asarray(Image.open(entry["mask"]))
    # Where nothing was found all is proposed: nothing clear is released by not looking.
    np.testing.assert_array_equal(mask, 255 if doubt == NO_FACE else mask_of(inside()))
    (entry,) = manifest(out)
    assert (entry["status"], entry["reasons"]) == ("waiting", [doubt])


def test_a_matte_that_leaves_the_face_clear_makes_it_wait_with_a_mask_too(folders, tmp_path):
    write_image(tmp_path / "mattes/deep/a.png", np.full((60, 80), 128, np.uint8))
    write_image(tmp_path / "masks/deep/a.png", mask_of(inside()))
    for given in ({}, {"masks": tmp_path / "masks", "reviewed": True}):
        outcome, _ = anonymize(*folders, mattes=tmp_path / "mattes", **given)
        assert outcome.done == 0
        assert [reasons for _, reasons in outcome.waiting] == [(MOSTLY_TRANSITION, STILL_FOUND)]
    assert not (folders[1] / "blurred_image").exists()


def test_what_a_mask_answers_and_what_not():
    labels = np.where(inside(), np.uint8(255), np.uint8(0))
    areas, blur, fill = PrivateAreas(labels, labels), Obfuscation(), Obfuscation("fill")
    here, elsewhere = found(), found((60, 40, 10, 10))
    partly = found((40, 10, 20, 30))

    def doubts(still, obfuscation=blur, mask=True, areas=areas):
        return doubts_about(areas, still, obfuscation, mask_given=mask, no_face_is_fine=False)

    assert doubts([]) == doubts([found(presence=0.1)]) == []
    assert doubts([here]) == doubts([partly]) == [STILL_FOUND]  # however it was looked at
    assert doubts([elsewhere]) == []  # the user says that this is none
    assert doubts([found(score=0.4)]) == []  # and has looked at that
    assert doubts([found(score=0.4)], mask=False) == [STILL_FOUND]
    assert doubts([elsewhere], mask=False) == [STILL_FOUND]
    # Of what is black nothing is to be seen, though the networks guess at a face.
    assert doubts([here], fill) == doubts([here], fill, mask=False) == []
    assert doubts([partly], fill) == [STILL_FOUND]


def test_masks_take_the_place_of_what_is_found(folders, tmp_path):
    pictures, out = folders
    for name in ("none", "other"):
        write_image(pictures / f"{name}.png", painted())
    where = np.zeros((60, 80), bool)
    where[5:50, 12:60] = True  # wider than the face
    write_image(tmp_path / "masks/none.png", mask_of(where & False))
    write_image(tmp_path / "masks/other.png", mask_of(where))
    unsure = lambda picture: [found(score=0.5)] if finder()(picture) else []  # noqa: E731
    outcome, work = anonymize(*folders, unsure, masks=tmp_path / "masks")
    assert outcome.done == 3
    assert work.unchanged == [pictures / "none.png"]  # the summary says so
    np.testing.assert_array_equal(read_picture(out / "blurred_image/none.png"), painted())
    hidden = read_picture(out / "blurred_image/other.png")
    np.testing.assert_array_equal(hidden[~where], painted()[~where])
    assert (hidden[where] != painted()[where]).any(-1).mean() > 0.95
    record = json.loads((out / "keep_private/records/other.json").read_text())
    assert (record["given"], record["faces"]) == (["mask"], [])


def test_a_mask_that_misses_a_face_is_not_believed(folders, tmp_path):
    """Empty, or another picture's. What is proposed holds the face, and a correction passes."""
    pictures, out = folders
    where = np.zeros((60, 80), bool)
    where[20:50, 50:70] = True
    write_image(pictures / "other.png", painted())
    write_image(tmp_path / "masks/other.png", mask_of(where))
    write_image(tmp_path / "masks/deep/a.png", mask_of(where & False))
    outcome, _ = anonymize(*folders, masks=tmp_path / "masks")
    assert outcome.done == 0
    assert {tuple(entry["reasons"]) for entry in listed(out).values()} == {(NOT_IN_MASK,)}
    proposed = np.asarray(Image.open(proposals(out) / "other.png")) > 0
    np.testing.assert_array_equal(proposed, where | inside())
    for name in ("other", "deep/a"):  # a person says: no face but there
        write_image(proposals(out) / f"{name}.png", mask_of(where))
    assert anonymize(*folders, masks=proposals(out))[0].done == 2
    hidden = read_picture(out / "blurred_image/other.png")
    np.testing.assert_array_equal(hidden[~where], painted()[~where])


def test_what_is_no_mask_is_refused(folders, tmp_path):
    masks = tmp_path / "masks"

    def reason(folder=masks):
        outcome, _ = anonymize(*folders, masks=folder)
        assert outcome.done == 0
        return outcome.failed[0][1]

    assert "is the picture itself; give the folder of masks" in reason(folders[0])
    write_image(masks / "deep/a.png", painted())
    assert "colour channels differ" in reason()
    write_image(masks / "deep/a.png", np.zeros((6, 8), np.uint8))
    assert "is 8 x 6 pixels, but its picture is 80 x 60" in reason()
    (masks / "deep/a.png").write_bytes(b"")
    assert "is empty" in reason()
    for wrong in (mask_of(inside()) // 255, cv2.GaussianBlur(mask_of(inside()), (0, 0), 3)):
        write_image(masks / "deep/a.png", wrong)
        assert "a face mask is 255 (white) on the face" in reason()


def test_a_mask_or_matte_never_serves_two_pictures(tmp_path):
    pictures, given, out = tmp_path / "in", tmp_path / "given", tmp_path / "out"
    for name in ("a.jpg", "a.png", "alone.png", "c.png", "c.png.png"):
        write_image(pictures / name, painted())
    for name in ("a.png", "alone.png", "c.png.png"):
        write_image(given / name, mask_of(inside()))
    for what in ("masks", "mattes"):
        outcome, _ = anonymize(pictures, out / what, full_names=True, **{what: given})
        failed = {file.name: reason for file, reason in outcome.failed}
        # The mask of c.png is not that of c.png.png, although it has its name without the ending.
        assert set(failed) - {"c.png.png"} == {"a.jpg", "a.png"}
        assert f"{given / 'a.png'}: may belong to {pictures / 'a.jpg'} or to" in failed["a.jpg"]
        assert "rename it after its picture, for example a.jpg.png" in failed["a.jpg"]
        assert "c.png.png" in failed
    (given / "a.png").rename(given / "a.jpg.png")
    outcome, _ = anonymize(pictures, tmp_path / "again", full_names=True, masks=given)
    assert {file.name for file, _ in outcome.failed} == {"c.png.png"}
    record = tmp_path / "again/keep_private/records"
    by_mask = {file.name for file in record.iterdir() if '"given": ["mask"]' in file.read_text()}
    assert by_mask == {"a.jpg.json", "alone.png.json", "c.png.json"}


def test_what_a_mask_passed_on_stays_done_without_it(folders, tmp_path):
    pictures, out = folders
    doubtful, masks = finder(LOW_SCORE), tmp_path / "masks"
    write_image(masks / "deep/a.png", np.full((60, 80), 255, np.uint8))
    assert anonymize(*folders, doubtful, masks=masks)[0].done == 1
    before = tree(out)
    for overwrite in (False, True):
        outcome, _ = anonymize(*folders, doubtful, overwrite=overwrite)
        assert (outcome.skipped, outcome.waiting, outcome.failed) == (1, [], [])
        assert tree(out) == before
    # What has to be made again needs the mask again: without it a face might come through.
    (out / "facemask/deep/a.png").unlink()
    before = tree(out)
    for overwrite in (False, True):
        outcome, _ = anonymize(*folders, overwrite=overwrite)
        assert "was anonymized with a mask that is missing now" in outcome.failed[0][1]
        assert tree(out) == before
    assert anonymize(*folders, doubtful, masks=masks)[0].done == 1
    write_image(masks / "deep/a.png", mask_of(inside()))
    outcome, _ = anonymize(*folders, doubtful, masks=masks)
    assert "a file provided for it, has changed since it was anonymized" in outcome.failed[0][1]
    assert anonymize(*folders, doubtful, masks=masks, overwrite=True)[0].done == 1
    write_image(pictures / "deep/a.png", painted(seed=4))
    outcome, _ = anonymize(*folders, doubtful)
    assert outcome.done == outcome.skipped == 0


@pytest.mark.parametrize("status", ["waiting", "failed"])  # as older manifests have it
def test_pictures_that_wait_are_looked_at_again(folders, status):
    _, out = folders
    anonymize(*folders, finder(LOW_SCORE))
    (entry,) = manifest(out)
    if status == "failed":
        entry = {**entry, "status": "failed", "reason": "; ".join(entry.pop("reasons"))}
        (out / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    outcome, _ = anonymize(*folders, finder(COVERED))
    assert len(outcome.waiting) == 1
    (entry,) = manifest(out)
    assert (entry["status"], entry["reasons"]) == ("waiting", [COVERED])
    assert anonymize(*folders)[0].done == 1
    (entry,) = manifest(out)
    assert entry["status"] == "done"
    assert not {"reason", "reasons"} & set(entry)


def test_mattes_are_needed_for_every_picture(folders, tmp_path):
    (tmp_path / "mattes").mkdir()
    outcome, _ = anonymize(*folders, mattes=tmp_path / "mattes")
    (_, reason) = outcome.failed[0]
    assert "there is no such matte for" in reason
    assert "add it" in reason
    assert not (folders[1] / "blurred_image").exists()


def test_proposals_are_never_written_over_what_somebody_did(folders):
    _, out = folders
    doubtful = finder(LOW_SCORE)
    anonymize(*folders, doubtful)
    mask = proposals(out) / "deep/a.png"
    write_image(mask, mask_of(np.roll(inside(), 1, 1)))
    edited = mask.read_bytes()
    anonymize(*folders, doubtful)
    assert mask.read_bytes() == edited
    assert anonymize(*folders, doubtful, masks=proposals(out))[0].done == 1
    assert mask.read_bytes() == edited
    assert listed(out) == {}


def test_an_unchanged_proposal_passes_only_if_the_user_says_that_it_was_reviewed(folders, tmp_path):
    pictures, out = folders
    for name in ("edited", "own"):
        write_image(pictures / f"{name}.png", painted())
    doubtful = finder(LOW_SCORE)
    anonymize(*folders, doubtful)
    masks = tmp_path / "copies"  # as well as the proposals' own folder
    shutil.copytree(proposals(out), masks)
    wider = mask_of(inside())
    wider[5:50] = 255
    write_image(proposals(out) / "edited.png", wider)
    write_image(masks / "own.png", wider)
    for given, passed in ((masks, "own"), (proposals(out), "edited")):
        outcome, work = anonymize(*folders, doubtful, masks=given)
        assert outcome.done == 1
        assert (out / f"blurred_image/{passed}.png").exists()
        assert pictures / "deep/a.png" in work.unchanged_masks
        assert listed(out)["deep/a"]["reasons"] == [NOT_REVIEWED]
    outcome, work = anonymize(*folders, doubtful, masks=proposals(out), reviewed=True)
    assert (outcome.done, work.unchanged_masks) == (1, [pictures / "deep/a.png"])
    assert listed(out) == {}
    record = json.loads((out / "keep_private/records/deep/a.json").read_text())
    assert record["mask_is"] == "unchanged"


def test_the_same_command_passes_nothing_on_that_nobody_has_looked_at(folders):
    pictures, out = folders
    doubtful = finder(LOW_SCORE)
    write_image(pictures / "b.png", painted())
    anonymize(*folders, doubtful)
    (proposals(out) / "b.png").unlink()
    write_image(pictures / "new.png", painted())
    for done in (1, 0, 0):
        outcome, _ = anonymize(*folders, doubtful, masks=proposals(out), reviewed=True)
        assert outcome.done == done
        assert set(listed(out)) == {"b", "new"}
    assert set(tree(proposals(out))) == {"deep/a.png"}
    anonymize(*folders, doubtful, masks=out / "keep_private")  # a folder above it
    assert set(tree(proposals(out))) == {"deep/a.png"}


def test_a_mask_counts_for_the_state_of_the_picture_that_it_was_made_for(folders):
    pictures, out = folders
    doubtful = finder(LOW_SCORE)
    anonymize(*folders, doubtful)
    mask = proposals(out) / "deep/a.png"
    before = mask.read_bytes()
    write_image(pictures / "deep/a.png", painted(seed=3)[:, ::-1])
    outcome, _ = anonymize(*folders, doubtful, masks=proposals(out))
    assert outcome.done == 0
    assert "was made for an earlier version of" in outcome.failed[0][1]
    # The user has not edited it, so it may be replaced by a new proposal.
    anonymize(*folders, lambda _: [found((1, 1, 9, 9), (LOW_SCORE,))])
    assert mask.read_bytes() != before
    outcome, _ = anonymize(*folders, lambda _: [], masks=proposals(out), reviewed=True)
    assert outcome.done == 1


def test_sheets_and_list_are_of_what_waits_now(tmp_path):
    pictures, out = tmp_path / "in", tmp_path / "out"
    for number in range(18):
        write_image(pictures / f"{number:02d}.png", painted(seed=number))
    (out / "keep_private/review").mkdir(parents=True)
    (out / "keep_private/review/sheet_of_mine.jpg").write_bytes(b"mine")
    anonymize(pictures, out, lambda _: [])
    assert sheets(out) == ["sheet_001.jpg", "sheet_002.jpg", "sheet_of_mine.jpg"]
    assert [entry["sheet"] for entry in listed(out).values()].count("sheet_002.jpg") == 2
    for number in range(3):
        (pictures / f"{number:02d}.png").unlink()
    anonymize(pictures, out, lambda _: [])
    assert sheets(out) == ["sheet_001.jpg", "sheet_of_mine.jpg"]
    assert len(listed(out)) == 15
    # Others that wait in the same place keep their sheet.
    write_image(tmp_path / "other/x.png", painted())
    anonymize(tmp_path / "other", out, lambda _: [])
    assert sheets(out) == ["sheet_001.jpg", "sheet_002.jpg", "sheet_of_mine.jpg"]
    assert (len(listed(out)), listed(out)["x"]["sheet"]) == (16, "sheet_002.jpg")
    anonymize(pictures, out)
    assert (set(listed(out)), sheets(out)) == ({"x"}, ["sheet_002.jpg", "sheet_of_mine.jpg"])


def test_an_interrupted_run_leaves_what_waited_before_on_the_list(tmp_path):
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"in/{name}.png", painted())
    out, folder = tmp_path / "out", tmp_path / "out/keep_private/review"
    anonymize(tmp_path / "in", out, lambda _: [])
    jobs = {str(job.name): job for job in make_plan([tmp_path / "in"], out, {}).jobs}
    review = ReviewList(folder, jobs)
    nothing = np.zeros((60, 80), np.uint8)
    review.add(jobs["b"], painted(), nothing, nothing, [NO_FACE], "0")
    review.close({"a"})  # which was released before the interrupt
    assert list(listed(out)) == ["b", "c"]
    assert listed(out)["c"]["sheet"] is None
