"""Weights of the authors' names become checkpoints of ours, and go out as safetensors again."""

import json
import os
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from conftest import GOLDENS, SHORT, golden, golden_state_dict, golden_variables, golden_weights
from torch_writer import Settings, Tensor, write_legacy, write_zip

from p3m_jax.checkpoints.arrays import CheckpointError
from p3m_jax.checkpoints.weights import (
    describe,
    load_for_inference,
    load_weights,
    save_for_inference,
)
from p3m_jax.inference.programs import predictor
from p3m_jax.interchange.importing import identify, read_variables
from p3m_jax.interchange.names import ENCODER_PREFIXES, StateDictError, original_key
from p3m_jax.interchange.safetensors_file import (
    read_safetensors,
)
from p3m_jax.interchange.state_dict import state_dict_from_variables
from p3m_jax.models.network import network

NETWORKS = sorted(SHORT)
FEATURES = ".attn.w"


def full_state_dict(name, features=False):
    """All that a file of the authors holds: aliases that share storage, counters, buffers."""
    known = golden_state_dict(name)
    shapes = json.loads((GOLDENS / f"state_dict_{SHORT[name]}.json").read_text())
    arrays = {}
    for key, shape in shapes.items():
        if original_key(name, key):
            continue
        elif key in known:
            arrays[key] = known[key]
        else:  # buffers that are computed
            arrays[key] = np.zeros(shape, np.int64 if key.endswith("index") else np.float32)
    for key in shapes:
        if original_key(name, key):
            arrays[key] = arrays[original_key(name, key)]
    if features:
        arrays |= {key: known[key].copy() for key in known if key.endswith(FEATURES)}
    return arrays


def backbone(name):
    """The encoder as files of its own have it, with an ImageNet head."""
    prefix = ENCODER_PREFIXES[name]
    arrays = {
        key.removeprefix(prefix): array
        for key, array in full_state_dict(name).items()
        if key.startswith(prefix)
    }
    if name == "swin":
        arrays |= {"head.weight": np.zeros((10, 768), np.float32)}
    return arrays


def assert_same(variables, expected, but=()):
    for part, expected_part in zip(variables, expected, strict=True):
        assert part.keys() == expected_part.keys()
        for name in part.keys() - set(but):
            assert np.asarray(part[name]).dtype == np.float32
            np.testing.assert_array_equal(part[name], expected_part[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_file_holds_is_told_by_its_names(name):
    for arrays, part in ((full_state_dict(name), "network"), (backbone(name), "encoder")):
        likely = identify(arrays)
        prefix = "" if part == "network" else ENCODER_PREFIXES[name]
        assert likely[0][:3] == (name, part, prefix)
        assert likely[0].share > 0.99
        others = [contents.share for contents in likely if contents.network != name]
        assert max(others) < 0.7  # the decoders have the same names
    prefix = ENCODER_PREFIXES[name]  # a backbone whose keys have the whole network's names
    assert identify([prefix + key for key in backbone(name)])[0][:3] == (name, "encoder", "")
    assert identify(["a", "encoder.", ""])[0].share == 0


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A whole ResNet-34 imported by the command: the file, the checkpoint and what was printed."""
    folder = tmp_path_factory.mktemp("import")
    write_zip(folder / "theirs.pth", {"state_dict": full_state_dict("resnet34"), "epoch": 7})
    command = [sys.executable, "-m", "p3m_jax.cli", "import", folder / "theirs.pth"]
    done = subprocess.run([*command, "-o", folder / "ours"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder / "theirs.pth", folder / "ours", done.stdout


def test_a_whole_network_is_imported_and_reported(imported):
    file, folder, output = imported
    checkpoint = load_for_inference(folder)
    assert checkpoint.model_name == "resnet34"
    assert not checkpoint.synthetic
    assert_same(checkpoint.variables, golden_variables("resnet34"))
    source = checkpoint.provenance["imported_from"]
    assert source["matched"] == 421
    assert source["file"] == "theirs.pth"
    assert source["bytes"] == file.stat().st_size
    assert source["form"] == "PyTorch zip, under state_dict"
    assert source["dropped"] == {
        "num_batches_tracked": 74,
        "ImageNet head": 2,
        "aliases of the encoder": 216,
    }
    assert source["sha256"] in output
    for sentence in ("421 arrays", "38,965,060 parameters, 29,312 running", "216 aliases"):
        assert sentence in output


def test_nothing_is_overwritten(imported, p3m, capsys):
    file, folder, _ = imported
    assert p3m("import", file, "-o", folder) == 1
    assert "already exists" in capsys.readouterr().err
    assert p3m("export", folder, "-o", file.with_suffix(".safetensors")) == 0
    assert p3m("export", folder, "-o", file.with_suffix(".safetensors")) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_wrong_model_is_named(imported, p3m, capsys, tmp_path):
    file, _, _ = imported
    assert p3m("import", file, "--model", "swin", "-o", tmp_path / "a") == 1
    assert re.search(r"does not hold swin, but has 100% .* resnet34", capsys.readouterr().err)
    assert p3m("import", file, "--model", "resnet50", "-o", tmp_path / "a") == 1
    assert "choose from resnet34, swin, vitae_s" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_all_that_does_not_fit_is_reported_together(tmp_path):
    arrays = full_state_dict("resnet34")
    arrays["encoder2.0.conv1.weight"] = arrays["encoder2.0.conv1.weight"] + 1
    arrays["tfi_3.bn1.bias"] = np.zeros(7, np.float32)
    arrays["resnet.extra"] = np.zeros(1, np.float32)
    arrays["encoder1.5.extra"] = np.zeros(1, np.float32)
    long = Tensor(np.zeros(65, np.float32), 0, (65,), (1,))
    arrays["resnet.bn1.bias"] = arrays["encoder0.1.bias"] = long
    arrays["resnet.layer5.0.conv1.weight"] = np.zeros((1, 1, 3, 3), np.float32)
    arrays["decoder_final_l.bias"] = np.float32([np.nan])
    arrays["tfi_2.bn1.bias"] = arrays["tfi_2.bn1.bias"].astype(np.int64)
    arrays["tfi_1.bn1.bias"] = np.full(arrays["tfi_1.bn1.bias"].shape, 1e300)
    del arrays["tfi_0.bn1.bias"]
    write_zip(tmp_path / "bad.pth", arrays)
    with pytest.raises(StateDictError, match=r"resnet34 .*10 mismatches") as caught:
        read_variables(tmp_path / "bad.pth")
    for problem in (
        r"encoder2\.0\.conv1\.weight: differs from resnet\.layer2\.0\.conv1\.weight",
        r"tfi_3\.bn1\.bias: shape \(7,\)",
        r"resnet\.extra: is not an array",
        r"encoder1\.5\.extra: is not an array",
        r"resnet\.bn1\.bias: shape \(65,\)",
        r"resnet\.layer5\.0\.conv1\.weight: would be encoder\.stages\.4",
        r"matting_decoder\.alpha\.bias: 1 of 1 numbers are not finite",
        r"matting_decoder\.tfi2\.fuse\.norm\.bias: holds int64 numbers",
        r"matting_decoder\.tfi1\.fuse\.norm\.bias: 64 of 64 numbers are not finite",
        r"matting_decoder\.tfi0\.fuse\.norm\.bias: missing",
    ):
        assert re.search(problem, str(caught.value))


def test_problems_of_a_backbone_are_named_as_in_its_file(tmp_path):
    arrays = backbone("vitae_s")
    arrays["layers.1.RC.extra"] = arrays.pop("layers.1.RC.linear.weight")
    write_zip(tmp_path / "bad.pth", arrays)
    with pytest.raises(StateDictError, match=r"\n  layers\.1\.RC\.extra: is not an array"):
        read_variables(tmp_path / "bad.pth")


def test_an_encoder_under_its_aliases_alone_is_taken(tmp_path):
    arrays = {k: v for k, v in full_state_dict("resnet34").items() if not k.startswith("resnet.")}
    write_zip(tmp_path / "aliases.pth", arrays)
    imported = read_variables(tmp_path / "aliases.pth")
    assert_same(imported.variables, golden_variables("resnet34"))


def test_a_foreign_file_is_refused(p3m, capsys, tmp_path):
    write_zip(tmp_path / "other.pth", {"conv.weight": np.zeros((2, 2), np.float32)})
    for file, sentence in (
        (tmp_path / "other.pth", "holds none of the networks .* such as conv.weight"),
        (GOLDENS / "pth" / "hostile.pth", "'posix.system'.*refused"),
        (GOLDENS / "pth" / "truncated.pth", "cut off or damaged"),
    ):
        assert p3m("import", file, "-o", tmp_path / "a") == 1
        output = capsys.readouterr()
        assert re.search(sentence, output.err)
        assert output.out == ""
    assert not (tmp_path / "a").exists()


def test_a_backbone_is_an_encoder_and_predicts_nothing(p3m, capsys, tmp_path):
    arrays = {f"module.{key}": array for key, array in backbone("vitae_s").items()}
    old = {key: np.zeros_like(array) for key, array in arrays.items()}
    value = {"state_dict": old, "state_dict_ema": arrays, "args": Settings({"lr": 0.1})}
    write_legacy(tmp_path / "backbone.pth.tar", value)
    assert p3m("import", tmp_path / "backbone.pth.tar", "-o", tmp_path / "encoder") == 0
    output = capsys.readouterr().out
    assert "vitae_s (only the encoder)" in output
    assert "18,653,056 parameters" in output
    assert "encoder.stages.0.1.attention.features from seed 0" in output
    with pytest.raises(CheckpointError, match=r"only the encoder of vitae_s.*config\.init_from"):
        load_for_inference(tmp_path / "encoder")
    checkpoint = load_weights(tmp_path / "encoder")
    assert checkpoint.part == "encoder"
    features = [name for name in checkpoint.variables.statistics if name.endswith("features")]
    whole = golden_variables("vitae_s")
    encoder = [{k: v for k, v in part.items() if k.startswith("encoder.")} for part in whole]
    assert_same(checkpoint.variables, encoder, but=features)
    fresh = network("vitae_s").initialize(0).statistics
    for name in features:
        np.testing.assert_array_equal(checkpoint.variables.statistics[name], fresh[name])


def test_other_kinds_of_numbers_become_float32(tmp_path):
    arrays = full_state_dict("swin")
    key = "decoder.tfi_3.transform.weight"
    arrays[key] = arrays[key].astype(ml_dtypes.bfloat16)
    arrays["encoder.norm.bias"] = arrays["encoder.norm.bias"].astype(np.float16)
    write_zip(tmp_path / "half.pth", arrays)
    imported = read_variables(tmp_path / "half.pth")
    assert imported.converted == ["bfloat16", "float16"]
    kernel = imported.variables.parameters["matting_decoder.tfi3.project.kernel"]
    np.testing.assert_array_equal(kernel[0, 0].T, arrays[key][:, :, 0, 0].astype(np.float32))


# ---- safetensors


def test_safetensors_bring_back_every_bit(tmp_path, p3m, capsys):
    name = "vitae_s"  # whose random features travel too
    past = {"step": 7, "data": "drawn", "imported_from": {"file": "theirs.pth"}}
    description = describe(name, synthetic=True, provenance=past)
    save_for_inference(tmp_path / "ours", golden_variables(name), description)
    assert p3m("export", tmp_path / "ours", "-o", tmp_path / "out.SAFETENSORS") == 0
    (tmp_path / "out.SAFETENSORS").rename(tmp_path / "out.safetensors")
    assert "vitae_s of step 7" in capsys.readouterr().out
    with safetensors.safe_open(tmp_path / "out.safetensors", framework="numpy") as file:
        for key, array in golden_state_dict(name).items():
            if key in file.keys():  # noqa: SIM118
                assert file.get_tensor(key).tobytes() == array.tobytes()
        assert json.loads(file.metadata()["p3m_jax"])["provenance"]["step"] == 7
    assert p3m("import", tmp_path / "out.safetensors", "-o", tmp_path / "back") == 0
    assert re.search(r"drawn +nothing", capsys.readouterr().out)
    back = load_for_inference(tmp_path / "back")
    assert_same(back.variables, golden_variables(name))
    assert back.synthetic  # a demonstration stays one
    assert back.provenance["data"] == "drawn"
    assert back.provenance["imported_from"]["form"] == "safetensors"
    assert back.provenance["imported_from"]["imported_from"] == {"file": "theirs.pth"}
    back_again = state_dict_from_variables(back.network, back.variables)
    first, _ = read_safetensors(tmp_path / "out.safetensors")
    assert {k: v.tobytes() for k, v in back_again.items()} == {
        k: v.tobytes() for k, v in first.items()
    }


# ---- at full size, as a process that has no PyTorch

BLOCKED = """\
import sys
sys.modules["torch"] = None  # importing it fails
from p3m_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""


# Run by a Python that has PyTorch: arrays of one address become tensors of one storage.
SAVE_BY_TORCH = """\
import json, sys
import numpy as np
import torch
arrays, aliases, path, zipped = sys.argv[1:]
state = {key: torch.from_numpy(array) for key, array in np.load(arrays).items()}
state |= {key: state[original] for key, original in json.loads(aliases).items()}
value = {"state_dict": state, "epoch": 7}
torch.save(value, path, _use_new_zipfile_serialization=zipped == "zip")
"""


@pytest.mark.slow
@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_full_file_that_pytorch_wrote(name, container, tmp_path):
    """`P3M_TORCH_PYTHON` names the interpreter that has it."""
    python = os.environ.get("P3M_TORCH_PYTHON")
    if not python:
        pytest.skip("P3M_TORCH_PYTHON names no Python with PyTorch")
    arrays = full_state_dict(name, features=name == "vitae_s")
    aliases = {key: original_key(name, key) for key in arrays if original_key(name, key)}
    own = {key: array for key, array in arrays.items() if key not in aliases}
    np.savez(tmp_path / "arrays.npz", **own)
    path = tmp_path / "full.pth"
    files = [tmp_path / "arrays.npz", json.dumps(aliases), path, container]
    subprocess.run([python, "-c", SAVE_BY_TORCH, *files], check=True)
    imported = read_variables(path)
    assert imported.file.form == f"PyTorch {container}, under state_dict"
    assert path.stat().st_size < 1.05 * sum(array.nbytes for array in own.values())
    assert imported.dropped.get("aliases of the encoder", 0) == len(aliases)
    assert_same(imported.variables, golden_variables(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((name, write_zip) for name in NETWORKS),
        ("resnet34", write_legacy),
        *(pytest.param(n, write_legacy, marks=pytest.mark.release) for n in ("swin", "vitae_s")),
    ],
)
def test_a_full_file_gives_the_recorded_weights_and_outputs(name, write, tmp_path):
    features = name == "vitae_s"  # as drawn when the outputs were recorded
    write(tmp_path / "full.pth", {"state_dict": full_state_dict(name, features)})
    command = [sys.executable, "-c", BLOCKED, "import", tmp_path / "full.pth"]
    subprocess.run([*command, "-o", tmp_path / "ours"], check=True, capture_output=True)
    checkpoint = load_for_inference(tmp_path / "ours")
    assert_same(checkpoint.variables, golden_variables(name))
    if name != "resnet34":
        return  # to the bit the weights whose outputs test_networks.py measures
    recorded = golden(f"forward_{SHORT[name]}")
    predict, pictures = (
        predictor(checkpoint.network, checkpoint.variables),
        golden_weights().image(256, 256, 2),
    )
    for output in ("semantic", "detail"):
        difference = np.abs(predict(output, pictures)[:, ::4, ::4] - recorded[f"256x256/{output}"])
        assert difference.mean() < 1e-4
