"""Inference checkpoints: what goes in comes out, and what is damaged or foreign is refused."""

import json
import os
import shutil

import numpy as np
import pytest
from small_network import SmallNetwork, found_by_name

from p3m_jax.checkpoints.arrays import CheckpointError
from p3m_jax.checkpoints.weights import (
    describe,
    load_for_inference,
    save_for_inference,
)
from p3m_jax.models.network import Variables


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    found_by_name()
    folder = tmp_path_factory.mktemp("checkpoint") / "weights"
    description = describe("small", synthetic=False, provenance={"step": 7})
    save_for_inference(folder, SmallNetwork().initialize(0), description)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_weights_and_description_come_back(saved):
    loaded = load_for_inference(saved)
    assert loaded.model_name == "small"
    assert loaded.provenance["step"] == 7
    assert not loaded.synthetic
    for ours, theirs in zip(loaded.variables, SmallNetwork().initialize(0), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_nothing_is_overwritten_unasked(saved, tmp_path):
    variables, description = SmallNetwork().initialize(0), {"network": "small"}
    (tmp_path / "mine").mkdir()
    for folder in (saved, tmp_path / "mine"):
        with pytest.raises(CheckpointError, match="already exists"):
            save_for_inference(folder, variables, description)
    with pytest.raises(CheckpointError, match="inside another checkpoint"):
        save_for_inference(saved / "sub", variables, description)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_for_inference(tmp_path / "file" / "sub", variables, description)


def test_a_damaged_array_is_one_sentence(copy):
    arrays = max(
        (path for path in copy.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    arrays.write_bytes(arrays.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"is damaged.*copy it again") as caught:
        load_for_inference(copy)
    assert len(str(caught.value)) < 600


def test_without_checksums_it_loads_and_says_so(copy, capsys):
    file = copy / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    del metadata["custom_metadata"]["checksums"]
    file.write_text(json.dumps(metadata))
    loaded = load_for_inference(copy)
    assert capsys.readouterr().err.count("has no checksums") == 1
    expected = SmallNetwork().initialize(0).parameters["first"]
    np.testing.assert_array_equal(loaded.variables.parameters["first"], expected)


def test_only_regular_files_are_read(copy, tmp_path, p3m, capsys):
    os.mkfifo(tmp_path / "pipe")
    (copy / "state" / "more").symlink_to("/dev/zero")
    for path, sentence in (
        (tmp_path / "pipe", "is a pipe or a device"),
        ("/dev/zero", "is a pipe or a device"),
        (copy, "state/more: is not a regular file"),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            load_for_inference(path)
        out = tmp_path / "out"
        assert p3m("export", path, "-o", out) == 1
        assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_what_is_no_number_is_not_written(tmp_path):
    variables = Variables({"a": np.ones(2), "b": np.float32([1, np.inf])}, {})
    with pytest.raises(CheckpointError, match="infinite or NaN values in parameters/b"):
        save_for_inference(tmp_path / "weights", variables, {})
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "another", "checksums": None}, "was not written by this program"),
        ({"network": None, "checksums": None}, "incomplete"),
        ({"network": "vitae", "checksums": None}, "'vitae', which this version does not have"),
        ({"synthetic": True}, "description is damaged"),
        ({"checksums": []}, "checksums are damaged"),
    ],
)
def test_a_foreign_or_incomplete_description_is_refused(copy, change, sentence):
    file = copy / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    metadata["custom_metadata"] |= change
    for key in [key for key, value in change.items() if value is None]:
        del metadata["custom_metadata"][key]
    file.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match=sentence):
        load_for_inference(copy)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_for_inference(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        load_for_inference(tmp_path / "nowhere")
    (tmp_path / "file.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="is a file"):
        load_for_inference(tmp_path / "file.pth")
