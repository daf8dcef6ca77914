"""`p3m anonymize`: what is hidden and what stays, what waits for review, records, metadata."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest
from anonymizing import (
    MARK,
    anonymize,
    finder,
    found,
    inside,
    listed,
    metadata,
    painted,
    proposals,
    sheets,
    with_private_tag,
)
from PIL import Image, ImageCms, ImageOps
from predicting import manifest, tree

from p3m_jax.anonymizing.doubts import STILL_FOUND, doubts_about
from p3m_jax.anonymizing.review import ReviewList
from p3m_jax.anonymizing.work import NOT_REVIEWED
from p3m_jax.collection.pictures import converted
from p3m_jax.collection.plan import make_plan
from p3m_jax.collection.profiles import CONVERTED, matrix_profile, standard_of, standards
from p3m_jax.faces.areas import MOSTLY_TRANSITION, NO_FACE, NOT_IN_MASK, PrivateAreas
from p3m_jax.faces.finding import AT_EDGE, COVERED, LOW_SCORE
from p3m_jax.faces.obfuscation import MODES, STRENGTH, Obfuscation
from p3m_jax.images import read_picture, write_image
from p3m_jax.trimap import TRANSITION, transition_kernel, trimap_from_matte


@pytest.fixture
def folders(tmp_path):
    """A folder with a picture in a tree, and where outputs go."""
    write_image(tmp_path / "in/deep/a.png", painted())
    return tmp_path / "in", tmp_path / "out"


def mask_of(where):
    return np.where(where, np.uint8(255), np.uint8(0))


@pytest.mark.parametrize("mode", MODES)
def test_all_but_the_private_area_stays_bit_for_bit(folders, mode):
    out = folders[1]
    outcome, _ = anonymize(*folders, obfuscation=Obfuscation(mode))
    assert (outcome.done, outcome.failed) == (1, [])
    clear, hidden = painted(), read_picture(out / "blurred_image/deep/a.png")
    np.testing.assert_array_equal(hidden[~inside()], clear[~inside()])
    assert (hidden[inside()] != clear[inside()]).any(-1).mean() > 0.95
    facemask = np.asarray(Image.open(out / "facemask/deep/a.png"))
    np.testing.assert_array_equal(facemask, np.stack([mask_of(inside())] * 3, -1))
    assert not (out / "mask").exists()
    assert {path.name for path in out.iterdir()} == {
        *("blurred_image", "facemask", "keep_private", "manifest.jsonl")
    }


def test_transition_areas_of_mattes_stay_sharp(folders, tmp_path):
    matte = np.zeros((60, 80), np.uint8)
    matte[:, 21:] = 255
    write_image(tmp_path / "mattes/deep/a.png", cv2.GaussianBlur(matte, (0, 0), 1))
    matte = np.asarray(Image.open(tmp_path / "mattes/deep/a.png"))
    assert anonymize(*folders, mattes=tmp_path / "mattes")[0].done == 1
    transition = trimap_from_matte(matte, transition_kernel(matte.shape)) == TRANSITION
    kept = ~inside() | transition
    assert (inside() & transition).any()
    hidden = read_picture(folders[1] / "blurred_image/deep/a.png")
    np.testing.assert_array_equal(hidden[kept], painted()[kept])
    assert (hidden[~kept] != painted()[~kept]).any(-1).mean() > 0.95
    np.testing.assert_array_equal(np.asarray(Image.open(folders[1] / "mask/deep/a.png")), matte)
    facemask = np.asarray(Image.open(folders[1] / "facemask/deep/a.png"))[..., 0]
    np.testing.assert_array_equal(facemask, mask_of(inside()))


def test_records_tell_all_and_their_hashes_are_right(folders):
    pictures, out = folders
    anonymize(*folders)
    record = json.loads((out / "keep_private/records/deep/a.json").read_text())
    source = (pictures / "deep/a.png").read_bytes()
    assert record["input_sha256"] == hashlib.sha256(source).hexdigest()
    assert record["smallest_face"] == {"upright": 32, "turned": 64}
    assert set(record["outputs"]) == {"blurred_image", "facemask"}
    for output in record["outputs"].values():
        content = (out / output["file"]).read_bytes()
        assert output["sha256"] == hashlib.sha256(content).hexdigest()
    (one,) = record["faces"]
    assert one["score"] == 0.95
    assert np.shape(one["landmarks"]) == (468, 2)
    (area,) = record["areas"]
    assert area["box"] == [20, 10, 25, 31]
    assert area["strength_in_pixels"] == pytest.approx(STRENGTH * 31, abs=0.05)
    assert record["obfuscation"] == {
        **{"mode": "blur", "strength": STRENGTH, "below_safe_strength": False}
    }
    assert {"p3m-jax", "opencv", "numpy", "yunet_sha256", "mesh_sha256"} <= set(record["versions"])
    # What has to be made again alone does not take the others out of the record.
    for file in ("blurred_image/deep/a.png", "keep_private/records/deep/a.json"):
        (out / file).unlink()
        before = tree(out)
        assert anonymize(*folders)[0].done == 1
        again = json.loads((out / "keep_private/records/deep/a.json").read_text())
        assert again["outputs"] == record["outputs"]
        assert before["facemask/deep/a.png"] == tree(out)["facemask/deep/a.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_and_metadata_dropped(tmp_path, orientation):
    upright = Image.fromarray(painted(64, 96))
    turns = [None, *(Image.Transpose(turn) for turn in (0, 3, 1, 5, 2, 6, 4))]
    turn = turns[orientation - 1]
    stored = upright if turn is None else upright.transpose(turn)
    (tmp_path / "in").mkdir()
    given = metadata(orientation)
    stored.save(tmp_path / "in/a.png", exif=given["exif"], icc_profile=given["icc_profile"])
    stored.save(tmp_path / "in/b.jpg", quality=100, subsampling=0, **given)
    assert (tmp_path / "in/b.jpg").read_bytes().count(MARK) == 6
    with Image.open(tmp_path / "in/a.png") as image:  # Pillow's own turn
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), painted(64, 96))
    looked = []

    def look(picture):
        looked.append(picture)
        return [found(presence=float(len(looked) % 2))]  # none in what is obfuscated

    out = tmp_path / "looked"
    assert anonymize(tmp_path / "in", out, look)[0].done == 2
    hidden = read_picture(out / "blurred_image/a.png")
    outside = ~inside(64, 96)
    np.testing.assert_array_equal(hidden[outside], painted(64, 96)[outside])
    difference = read_picture(out / "blurred_image/b.png")[outside].astype(int)
    assert np.abs(difference - painted(64, 96)[outside]).mean() < 3
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert MARK not in file.read_bytes()
    for name in ("a", "b"):
        with Image.open(out / f"blurred_image/{name}.png") as image:
            assert image.info == {}


SRGB = (0.43607, 0.22249, 0.01392, 0.38515, 0.71687, 0.09708, 0.14307, 0.06061, 0.7141)


def linear(values):
    values = values / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def coded(values):
    values = np.clip(values, 0, 1)
    return 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


# By the standards' own formulas, what a picture's numbers are in sRGB.
TO_SRGB = {
    "Display P3": lambda pixels: coded(
        linear(pixels)
        @ np.transpose(
            [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]]
        )
    ),
    "Adobe RGB": lambda pixels: coded(
        (pixels / 255) ** 2.19921875
        @ np.transpose([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
    ),
    "gamma 1.8": lambda pixels: coded((pixels / 255) ** 1.8),
    "sRGB": lambda pixels: pixels,
}


@pytest.mark.parametrize("space", TO_SRGB)
@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_nothing_of_a_colour_profile_comes_through_but_the_colours(tmp_path, space, format):
    if space == "sRGB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    else:
        profile = standards().get(space) or matrix_profile(space, SRGB, (1.8,))
    profile = with_private_tag(profile)
    assert standard_of(profile) == (space if space in standards() else None)
    coarse = np.random.default_rng(0).integers(40, 216, (6, 8, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth).save(tmp_path / "in/a.png", icc_profile=profile)
    Image.fromarray(smooth).convert("L").save(tmp_path / "in/grey.png", icc_profile=profile)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "in/cmyk.jpg", icc_profile=profile)
    assert MARK in (tmp_path / "in/cmyk.jpg").read_bytes()
    looks = []

    def look(picture):
        looks.append(picture)
        return [found(presence=float(len(looks) % 2))]

    out = tmp_path / "out"
    outcome, _ = anonymize(tmp_path / "in", out, look, format=format, quality=100)
    assert outcome.done == 3
    warnings = {sentence for file, sentence in outcome.warnings if file.name == "a.png"}
    assert warnings == (set() if space in standards() else {CONVERTED})
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert MARK not in file.read_bytes()
    for file in (*(out / "blurred_image").iterdir(), *(out / "facemask").iterdir()):
        with Image.open(file) as image:  # PNG packs a profile
            assert MARK not in image.info.get("icc_profile", b"")
    with Image.open(out / f"blurred_image/a.{format}") as image:
        written, kept = np.asarray(image.convert("RGB")), image.info.get("icc_profile")
    assert kept == standards().get(space)
    if kept and format == "png":
        np.testing.assert_array_equal(written[~inside()], smooth[~inside()])
    seen = converted(written, kept, None)[~inside()]
    difference = np.abs(seen - TO_SRGB[space](smooth.astype(float))[~inside()])
    assert difference.max() <= 1.6 or format != "png"
    assert difference.mean() < {"png": 0.5, "jpg": 1, "webp": 3}[format]
    if format == "png":  # what the finder looked at is what was written, but for the face
        assert any((picture[~inside()] == written[~inside()]).all() for picture in looks)


def test_further_pictures_in_a_file_and_what_is_transparent_do_not_come_through(tmp_path):
    face, other = Image.fromarray(painted()), Image.fromarray(painted(seed=5))
    (tmp_path / "in").mkdir()
    face.save(tmp_path / "in/moving.gif", save_all=True, append_images=[other])
    face.save(tmp_path / "in/moving2.webp", save_all=True, append_images=[other], lossless=True)
    face.save(tmp_path / "in/telephone.jpg", format="MPO", save_all=True, append_images=[other])
    clear = Image.fromarray(np.dstack([painted(), mask_of(~inside())]))
    clear.save(tmp_path / "in/see_through.png")
    out = tmp_path / "out"
    outcome, work = anonymize(tmp_path / "in", out, lambda _: [], no_face_is_fine=True)
    assert outcome.done == len(work.unchanged) == 4
    for file in (out / "blurred_image").iterdir():
        with Image.open(file) as image:
            assert getattr(image, "n_frames", 1) == 1
            assert image.mode == "RGB"
    assert (read_picture(out / "blurred_image/see_through.png")[inside()] == 255).all()


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
    # Where nothing was found all is proposed: nothing clear is passed on by not looking.
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
    assert doubts([elsewhere]) == []  # somebody says that this is none
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

    assert "is the picture itself; name the folder of masks" in reason(folders[0])
    write_image(masks / "deep/a.png", painted())
    assert "has different colours" in reason()
    write_image(masks / "deep/a.png", np.zeros((6, 8), np.uint8))
    assert "is 8 x 6, its picture 80 x 60" in reason()
    (masks / "deep/a.png").write_bytes(b"")
    assert "is empty" in reason()
    for wrong in (mask_of(inside()) // 255, cv2.GaussianBlur(mask_of(inside()), (0, 0), 3)):
        write_image(masks / "deep/a.png", wrong)
        assert "a face mask is 255 (white) where a face is" in reason()


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
        assert f"{given / 'a.png'}: could be for {pictures / 'a.jpg'} or for" in failed["a.jpg"]
        assert "rename it after its picture, such as a.jpg.png" in failed["a.jpg"]
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
        assert "was anonymized with a mask that is not given now" in outcome.failed[0][1]
        assert tree(out) == before
    assert anonymize(*folders, doubtful, masks=masks)[0].done == 1
    write_image(masks / "deep/a.png", mask_of(inside()))
    outcome, _ = anonymize(*folders, doubtful, masks=masks)
    assert "has changed since it was anonymized, or what is given" in outcome.failed[0][1]
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
    assert "was made for an earlier state of" in outcome.failed[0][1]
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
    review.close({"a"})  # which was passed on before somebody interrupted
    assert list(listed(out)) == ["b", "c"]
    assert listed(out)["c"]["sheet"] is None
