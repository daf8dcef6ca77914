"""Safetensors files: damage is found, and other programs' descriptions are not trusted."""

import re

import numpy as np
import pytest
from conftest import golden_variables

from p3m_jax.checkpoints.folder import read_description
from p3m_jax.interchange.importing import import_weights
from p3m_jax.interchange.safetensors_file import (
    SafetensorsError,
    read_safetensors,
    write_safetensors,
)
from p3m_jax.interchange.state_dict import state_dict_from_variables
from p3m_jax.models.network import network


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content[:100], "cut off or damaged"),
        (lambda content: content[:-1], "cut off or damaged"),
        (lambda content: b"", "is not a safetensors file"),
        (lambda content: b"\xff" * 8 + content[8:], "cut off or damaged"),
        (lambda content: content[:8] + b"[" + content[9:], "cut off or damaged"),
        (lambda content: b"<html>" + content, "is not a safetensors file"),
        (lambda content: content.replace(b'"F32"', b'"F99"'), "cut off or damaged"),
        (lambda content: re.sub(rb'"(p3m_jax)":"{', rb'"\1":"[', content), "cut off or damaged"),
        (lambda content: content.replace(b"crc32", b"crc64"), "description is damaged"),
        (lambda content: content[:-1] + b"\x3e", r"changed .*\(w has a wrong checksum\)"),
        (lambda content: content.replace(b'"w":{', b'"v":{'), "damaged or was changed"),
        (lambda content: content.replace(b"p3m_jax", b"P3M_JAX")[:-1] + b"\x3e", None),
    ],
)
def test_damaged_safetensors_are_one_sentence(change, sentence, tmp_path):
    path = tmp_path / "bad.safetensors"
    write_safetensors(path, {"w": np.ones((3, 2), np.float32).T}, {})
    arrays, description = read_safetensors(path)
    np.testing.assert_array_equal(arrays["w"], np.ones((2, 3)))
    assert description == {}
    path.write_bytes(change(path.read_bytes()))
    if sentence is None:  # a file of another program has no checksums
        assert read_safetensors(path)[0]["w"][1, 2] < 1
        return
    with pytest.raises(SafetensorsError, match=sentence) as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


def test_of_a_foreign_account_only_what_we_write_is_believed(tmp_path):
    arrays = state_dict_from_variables(network("resnet34"), golden_variables("resnet34"))
    past = {"program": "theirs 1.0", "step": {"a": 1}, "data": "drawn", "run": 3, "other": "text"}
    account = {"synthetic": "no", "provenance": past}
    write_safetensors(tmp_path / "FOREIGN.SAFETENSORS", arrays, account)
    import_weights(tmp_path / "FOREIGN.SAFETENSORS", tmp_path / "ours")
    description = read_description(tmp_path / "ours")
    assert description["synthetic"] is False
    provenance = description["provenance"]
    assert provenance.keys() == {"program", "data", "imported_from"}
    assert provenance["program"].startswith("p3m-jax")
    assert provenance["imported_from"]["program"] == "theirs 1.0"
