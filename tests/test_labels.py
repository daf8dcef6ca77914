"""Label files: what each kind may hold, and that everything else is refused, never guessed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3m_jax.pictures.images import write_image
from p3m_jax.pictures.labels import (
    NEVER_CLEAR,
    NEVER_OPAQUE,
    NOBODY,
    TINY,
    LabelError,
    read_alpha,
    read_face_mask,
    read_label_map,
    read_matte,
    read_prediction,
    read_trimap,
)

CASES = Path(__file__).parents[2] / "shared" / "cases"
READERS = (read_matte, read_prediction, read_alpha, read_trimap, read_face_mask, read_label_map)


def saved(folder, values, name="a.png", **options):
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    image.save(folder / name, **options)
    return folder / name


def rows(*values, kind=np.uint8):
    return np.array([values, values], kind)


def test_mattes_of_8_and_16_bits_and_equal_channels_are_read(tmp_path):
    values = rows(0, 51, 255)
    several = np.stack([values] * 3, axis=-1)
    for given in (values, several, values.astype(np.uint16) * 257):
        np.testing.assert_array_equal(read_matte(saved(tmp_path, given)), values)
    assert np.all(read_matte(saved(tmp_path, Image.new("1", (5, 4), 1))) == 255)
    opaque = Image.fromarray(several)
    opaque.putalpha(255)
    np.testing.assert_array_equal(read_matte(saved(tmp_path, opaque)), values)
    grey = Image.fromarray(rows(0, 0, 255)).convert("RGB").convert("CMYK")
    np.testing.assert_array_equal(read_matte(saved(tmp_path, grey, "a.tif")), rows(0, 0, 255))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (rows(0, 1), r"0 and 1; .*255. If 1 is opaque, multiply it by 255"),
        (rows(0, 40, 127), "0, 40 and 127"),
        (rows(0, 255, kind=np.uint16), "0 and 255; .*65535. .*8-bit"),
        (rows(0, 1, kind=np.uint16), "multiply it by 65535"),
        (rows(0, 0.3, kind=np.float32), "float32 values from 0 to 0.3"),
        (rows(0, 100_000, kind=np.int32), "int32 values"),
    ],
)
def test_mattes_of_another_scale_are_refused(tmp_path, values, named):
    with pytest.raises(LabelError, match=rf"a\.tif: .*{named}"):
        read_matte(saved(tmp_path, values, "a.tif"))


def test_mattes_that_are_never_opaque_or_never_clear_are_warned_about(tmp_path):
    for values, expected in (
        (rows(0, 254), [NEVER_OPAQUE]),
        (rows(1, 254), [NEVER_OPAQUE, NEVER_CLEAR]),
        (rows(1, 255), [NEVER_CLEAR]),
        (rows(0, 65000, kind=np.uint16), [NEVER_OPAQUE]),
        (rows(0, 0), [NOBODY]),
        (rows(0, 255), []),
    ):
        warnings = []
        read_matte(saved(tmp_path, values), warnings.append)
        assert warnings == expected


def test_predictions_have_any_range_and_alphas_all_of_16_bits(tmp_path):
    deep = rows(0, 1, 32768, 40000, kind=np.uint16)
    write_image(tmp_path / "deep.png", deep)
    np.testing.assert_allclose(read_alpha(tmp_path / "deep.png"), deep / 65535, atol=1e-7)
    np.testing.assert_array_equal(read_prediction(tmp_path / "deep.png"), rows(0, 0, 128, 156))
    low = saved(tmp_path, rows(3, 51, 60))
    np.testing.assert_allclose(read_alpha(low), rows(3, 51, 60) / np.float32(255), atol=1e-7)
    for read in (read_alpha, read_prediction):
        warnings = []
        read(low, warnings.append)
        assert warnings == []
        read(saved(tmp_path, rows(0, 1), "b.png"), warnings.append)
        assert warnings == [TINY]


def test_trimaps_hold_three_values(tmp_path):
    expected = rows(0, 128, 255)
    for values in (rows(0, 127, 255), rows(0, 128, 255), rows(0, 32768, 65535, kind=np.uint16)):
        np.testing.assert_array_equal(read_trimap(saved(tmp_path, values)), expected)
    for values, named in ((rows(0, 1, 2), "0, 1 and 2"), (rows(*range(9)), r"0 to 8 \(9 values\)")):
        with pytest.raises(LabelError, match=rf"a\.png: its values are {named}"):
            read_trimap(saved(tmp_path, values))
    with pytest.raises(LabelError, match="JPEG"):
        read_trimap(saved(tmp_path, np.zeros((8, 8), np.uint8), "a.jpg"))


def test_face_masks_are_black_and_white(tmp_path):
    for values in (rows(0, 255), rows(8, 247), rows(0, 65535, kind=np.uint16)):
        np.testing.assert_array_equal(read_face_mask(saved(tmp_path, values)), rows(0, 255))
    assert not read_face_mask(saved(tmp_path, rows(0, 0))).any()
    green = np.zeros((4, 4, 3), np.uint8)
    green[1:3, 1:3, 1] = 255
    palette = Image.fromarray(rows(0, 1), "P")
    palette.putpalette([0, 0, 0, 0, 0, 128])
    for wrong in (
        rows(0, 1),
        rows(0, 8),
        rows(0, 90),
        rows(0, 9, 255),
        rows(0, 246),
        rows(0, 255, kind=np.uint16),
        rows(0, 0.3, kind=np.float32),
        rows(0, 1, kind=np.float32),
        green,
        green[..., [2, 0, 1]],
        palette,
    ):
        file = saved(tmp_path, wrong, "a.tif")
        with pytest.raises(LabelError, match=r"a\.tif"):
            read_face_mask(file)
    with pytest.raises(LabelError, match="0 to 29 "):  # a photograph
        read_face_mask(saved(tmp_path, np.arange(30, dtype=np.uint8).reshape(5, 6)))


def test_only_p3m_10k_has_face_masks_of_different_channels(tmp_path):
    mask = np.stack([rows(0, 255), rows(0, 0), rows(7, 70)], axis=-1)
    file = saved(tmp_path, mask)
    np.testing.assert_array_equal(read_face_mask(file, several_channels=True), rows(0, 255))
    for read in READERS:
        with pytest.raises(LabelError, match="colour channels differ"):
            read(file)


def test_label_maps_are_corrected_in_black_and_white(tmp_path):
    np.testing.assert_array_equal(
        read_label_map(saved(tmp_path, rows(0, 101, 255))), rows(0, 101, 255)
    )
    with pytest.raises(LabelError, match="0, 100 and 255; a label map is 0"):
        read_label_map(saved(tmp_path, rows(0, 100, 255)))


def test_what_no_kind_may_hold_is_refused_by_all(tmp_path):
    transparent = Image.new("LA", (3, 2), (255, 128))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(tmp_path, rows(0, 255), "turned.png", exif=exif)
    for read in READERS:
        with pytest.raises(LabelError, match="partly transparent"):
            read(saved(tmp_path, transparent))
        with pytest.raises(LabelError, match="orientation 6"):
            read(turned)


@pytest.mark.skipif(not CASES.is_dir(), reason="the small cases are not beside the project")
def test_small_cases():
    for reader, name, named in (
        (read_matte, "matte_0_1.png", "0 and 1"),
        (read_face_mask, "matte_0_1.png", "0 and 1"),
        (read_trimap, "trimap_jpeg.jpg", "JPEG"),
    ):
        with pytest.raises(LabelError, match=rf"{name}.*{named}"):
            reader(CASES / name)
    read_matte(CASES / "matte.png")
    assert set(np.unique(read_trimap(CASES / "trimap_127.png"))) == {0, 128, 255}
