"""Sets of records of other sources than P3M-10k: drawn portraits and CelebAMask-HQ."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")
from p3m_jax.copy_paste.image import read_face
from p3m_jax.copy_paste.sources import celebamask_hq_faces
from p3m_jax.data.celebamask import MASKS, PICTURES
from p3m_jax.data.layouts import training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.input import host_tensorflow
from p3m_jax.input.contents import place_at, places
from p3m_jax.pictures.images import write_image

tf = host_tensorflow()


def test_drawn_portraits_stay_drawn(tmp_path, p3m, capsys):
    write_synthetic_set(tmp_path / "set", train=2, test=1, faces=1, size=(40, 40), progress=False)
    assert p3m("records", tmp_path / "set", "-o", tmp_path / "records") == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert training_set(tmp_path / "records").synthetic
    assert p3m("check", tmp_path / "records", "--full") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("P3M-10k train", "P3M-500-P:", "P3M-500-NP:", "SYNTHETIC"))


def test_faces_of_celebamask_hq(tmp_path, p3m):
    root, rng = tmp_path / "CelebAMask-HQ", np.random.default_rng(0)
    for number in range(3):
        colours = rng.integers(0, 255, (64, 64, 3), np.uint8)
        write_image(root / PICTURES / f"{number}.jpg", colours)
        for part, (top, bottom) in {"skin": (4, 30), "l_brow": (10, 12)}.items():
            mask = np.zeros((32, 32), np.uint8)
            mask[top:bottom, 8:24] = 255
            write_image(root / MASKS / "0" / f"{number:05d}_{part}.png", mask)
    assert p3m("records", root, "-o", tmp_path / "records") == 0
    results = []
    for place, cache in ((root, "a"), (tmp_path / "records", "b")):
        faces = celebamask_hq_faces(place, cache=tmp_path / cache, progress=False)
        assert [face.stem for face in faces] == ["0", "1", "2"]
        files = places([face.picture for face in faces]), places([face.mask for face in faces])
        results.append([read_face(*(place_at(f, n) for f in files)) for n in range(3)])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(mine.picture, theirs.picture)
        np.testing.assert_array_equal(mine.mask, theirs.mask)
        assert tf.reduce_any(mine.mask)
