"""Arrays of checkpoints have checksums: no damage gets through as other numbers."""

import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from p3m_jax.checkpoints.arrays import (
    CheckpointError,
    DamagedCheckpoint,
    NotFinite,
    read_arrays,
    sealed,
    unsealed,
    with_checksums,
)

ARRAYS = {
    "parameters": {
        "kernel": np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32),
        "half": np.arange(6).astype(ml_dtypes.bfloat16),
    },
    "count": np.array(7, np.int32),
}
WANTED = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), ARRAYS)


def write(folder, arrays=ARRAYS):
    content = with_checksums({}, arrays)
    ocp.save(folder, arrays)
    return unsealed(content)[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays") / "saved"
    return folder, write(folder)


def test_arrays_come_back(saved):
    folder, checksums = saved
    arrays = read_arrays(folder, WANTED, checksums)
    jax.tree.map(np.testing.assert_array_equal, arrays, ARRAYS)
    part = {"parameters": {"half": WANTED["parameters"]["half"]}}
    assert read_arrays(folder, part, checksums).keys() == {"parameters"}


def test_no_single_bit_gives_other_numbers(saved, tmp_path, capfd):
    folder, checksums = saved
    copy = shutil.copytree(folder, tmp_path / "copy")
    files = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.stat().st_size]
    rng, refused = np.random.default_rng(0), []
    for number in range(40):
        file = files[number % len(files)]
        content = file.read_bytes()
        at, bit = rng.integers(len(content)), 1 << rng.integers(8)
        file.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        try:
            arrays = read_arrays(copy, WANTED, checksums)
        except DamagedCheckpoint as error:
            refused.append(str(error))
        else:
            jax.tree.map(np.testing.assert_array_equal, arrays, ARRAYS)
        file.write_bytes(content)
    assert len(refused) > 10
    assert all(text.startswith(f"{copy}: is damaged (") and "\n" not in text for text in refused)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("recorded", [True, False])
def test_other_arrays_are_named(tmp_path, recorded):
    renamed = {"kernal": ARRAYS["parameters"]["kernel"], "half": ARRAYS["parameters"]["half"]}
    short = {**ARRAYS["parameters"], "kernel": ARRAYS["parameters"]["kernel"][:29]}
    broken = {**ARRAYS["parameters"], "kernel": np.full((30, 40), np.nan, np.float32)}
    for number, (parameters, sentence) in enumerate(
        (
            (renamed, "does not contain parameters/kernel" if recorded else "kernel is missing"),
            (short, r"kernel is float32\[29, 40\] instead of float32\[30, 40\]"),
            (broken, "kernel holds infinite or NaN values"),
        )
    ):
        folder, arrays = tmp_path / str(number), {**ARRAYS, "parameters": parameters}
        if parameters is broken:
            with pytest.raises(NotFinite, match="parameters/kernel"):
                with_checksums({}, arrays)
            ocp.save(folder, arrays)
            checksums = None
        else:
            checksums = write(folder, arrays)
        with pytest.raises(CheckpointError, match=sentence):
            read_arrays(folder, WANTED, checksums if recorded else None)


def test_a_description_is_sealed():
    description = {"validation": {"SAD": 12.5}, "sizes": (1, 2), "text": "é"}
    content = sealed(description, {"a": "00000000"})
    assert unsealed(content) == ({**description, "sizes": [1, 2]}, {"a": "00000000"})
    assert unsealed({"a": 1}) == ({"a": 1}, None)
    for changed in (
        content | {"text": "e"},
        content | {"checksums": content["checksums"] | {"arrays": {"b": "00000000"}}},
        content | {"checksums": {"arrays": 1}},
        content | {"checksums": None},
    ):
        with pytest.raises(ValueError, match="damaged"):
            unsealed(changed)
