"""Weights as others keep them: behind wrappers, of an ordinary ResNet-34, at an address."""

import re

import numpy as np
import pytest
from test_import import assert_same, backbone
from torch_writer import write_zip

from p3m_jax.checkpoints.weights import load_weights
from p3m_jax.interchange.importing import read_variables
from p3m_jax.interchange.weights_file import WeightsFileError, read_weights


def test_an_address_is_told_to_be_downloaded(p3m, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in (
        "https://example.org/a.pth",
        "HTTP://example.org/a.safetensors",
        "gs://b/a.pth",
    ):
        assert p3m("import", address, "-o", "a") == 1
        assert "download the file and use its path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prefix", "form"),
    [
        ("_orig_mod.", "behind _orig_mod."),
        ("model.", "behind model."),
        ("net.", "behind net."),
        ("module.module.", "behind module.module."),
        ("module._orig_mod.net.model.", "behind module._orig_mod.net.model."),
        ("student.", None),
    ],
)
def test_wrappers_that_all_keys_share_are_taken_off(prefix, form, tmp_path):
    arrays = {"stem.weight": np.ones((2, 3), np.float32), "model.b": np.ones(2, np.float32)}
    path = tmp_path / "wrapped.pth"
    write_zip(path, {prefix + key: array for key, array in arrays.items()})
    weights = read_weights(path)
    assert weights.form == ", ".join(filter(None, ("PyTorch zip", form)))
    kept = "" if form else prefix
    assert list(weights.arrays) == [kept + key for key in arrays]
    # Only what all keys share: here nothing.
    write_zip(path, {"model.a": np.ones(2, np.float32), "loss.b": np.ones(2, np.float32)})
    assert list(read_weights(path).arrays) == ["model.a", "loss.b"]


def test_an_ordinary_resnet_is_taken_only_when_asked_for(tmp_path, p3m, capsys):
    arrays = backbone("resnet34")
    write_zip(tmp_path / "resnet34-b627a593.pth", arrays)
    ordinary, theirs = tmp_path / "resnet34-b627a593.pth", tmp_path / "R34MP_imagenet.pth.tar"
    assert p3m("import", ordinary, "-o", tmp_path / "a") == 1
    said = capsys.readouterr().err
    assert re.search(
        r"torchvision's.*uses strides where P3M-Net's backbone pools.*--approximate", said
    )
    assert not (tmp_path / "a").exists()
    assert p3m("import", ordinary, "-o", tmp_path / "a", "--approximate") == 0
    assert re.search(r"approximate +weights of a ResNet-34 with strides", capsys.readouterr().out)
    checkpoint = load_weights(tmp_path / "a")
    assert "strides" in checkpoint.provenance["imported_from"]["approximate"]
    # The mark stays where they are exported and come back.
    assert p3m("export", tmp_path / "a", "-o", tmp_path / "a.safetensors") == 0
    with pytest.raises(WeightsFileError, match="looks like an ordinary ResNet-34"):
        read_variables(tmp_path / "a.safetensors")
    again = read_variables(tmp_path / "a.safetensors", approximate=True)
    assert_same(again.variables, checkpoint.variables)
    ordinary.rename(theirs)
    assert read_variables(theirs).approximate == ""
    with pytest.raises(WeightsFileError, match="fits exactly"):
        read_variables(theirs, approximate=True)
