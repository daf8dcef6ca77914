"""Fine-tuning a checkpoint on one's own pictures and mattes, as users start it."""

import shutil

import numpy as np
import pytest
from conftest import golden_variables
from running import SMALL_RUN, SMALL_STEP, start_training
from small_network import SmallNetwork, found_by_name

from p3m_jax.checkpoints.weights import describe, load_for_inference, save_for_inference
from p3m_jax.configs import common
from p3m_jax.data.folders import DataSetError
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.models.network import Variables, network
from p3m_jax.training.data import prepare_data
from p3m_jax.training.errors import ConfigurationError
from p3m_jax.training.log import read_log
from p3m_jax.training.loop import train as train_here
from p3m_jax.training.parsing import parse
from p3m_jax.training.start import first_variables

SOURCE = {"imported_from": {"file": "theirs.pth", "sha256": "0" * 64}}
SETTINGS = {**SMALL_STEP, "validate_every": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`photos` and `mattes` of a user, and an encoder and a small network to start from."""
    found_by_name()
    folder = tmp_path_factory.mktemp("finetune")
    write_synthetic_set(folder / "drawn", train=6, test=1, size=(128, 96), progress=False)
    shutil.move(folder / "drawn/train/blurred_image", folder / "photos")
    shutil.move(folder / "drawn/train/mask", folder / "mattes")
    shutil.rmtree(folder / "drawn")  # and with it the mark that they are synthetic
    encoder = Variables(
        *(
            {name: array for name, array in arrays.items() if name.startswith("encoder.")}
            for arrays in golden_variables("resnet34")
        )
    )
    small = SmallNetwork().initialize(0)
    for part, name, values in (("network", "small", small), ("encoder", "resnet34", encoder)):
        description = describe(name, synthetic=False, provenance=SOURCE, part=part)
        save_for_inference(folder / part, values, description)
    return folder


def train(folder, workdir, start, expected=0, **settings):
    settings = {
        "init_from": folder / start,
        "data.pictures": folder / "photos",
        "data.mattes": folder / "mattes",
        **SETTINGS,
        **settings,
    }
    run = start_training(f"{SMALL_RUN}:finetune", workdir, settings)
    output, _ = run.communicate()
    assert run.returncode == expected, output
    return output


@pytest.mark.slow
def test_fine_tuning_goes_on_from_the_checkpoint_and_from_its_own(folder, tmp_path):
    workdir = tmp_path / "run"
    composition = {"loss.composition": True}
    output = train(folder, workdir, "network", steps=2, **composition)
    assert "fresh weights" not in output
    assert "SYNTHETIC" not in output
    # It goes on though what it started from is no longer there.
    output = train(folder, workdir, "gone", steps=4, **composition)
    assert "Resuming from step 2" in output
    assert [line["step"] for line in read_log(workdir, "step")] == [1, 2, 3, 4]
    assert [line["step"] for line in read_log(workdir, "validation")] == [2, 4]
    # The composition loss took foregrounds, which were estimated into the run's folder.
    assert len(list((workdir / "foregrounds/fg").iterdir())) == 6
    assert all(line["composition"] > 0 for line in read_log(workdir, "step"))
    tuned = load_for_inference(workdir)
    assert not tuned.synthetic
    assert tuned.provenance["started_from"]["imported_from"]["file"] == "theirs.pth"
    assert tuned.provenance["init_from"] == str(folder / "network")
    assert tuned.provenance["pictures"] == 5
    start = SmallNetwork().initialize(0).parameters
    moved = [np.abs(tuned.variables.parameters[k] - start[k]).max() for k in start]
    assert 0 < max(moved) < 1e-4  # four steps of Adam at 1e-5
    assert "photos" in (workdir / "report.md").read_text()


def test_a_backbone_gives_the_encoder_and_the_seed_the_decoders(folder, capsys):
    variables, synthetic, past = first_variables(
        network("resnet34"), str(folder / "encoder"), seed=3, learning_rate=1e-5
    )
    assert "the decoders are drawn from the seed" in capsys.readouterr().out
    assert not synthetic
    assert past["init_from"] == str(folder / "encoder")
    assert past["started_from"]["imported_from"] == SOURCE["imported_from"]
    for imported, drawn, first in zip(
        golden_variables("resnet34"), network("resnet34").initialize(3), variables, strict=True
    ):
        assert first.keys() == drawn.keys()
        for name, array in first.items():
            source = imported if name.startswith("encoder.") else drawn
            np.testing.assert_array_equal(array, source[name])


def config(**settings):
    configuration = common.variant("resnet34", "finetune")
    configuration.update_from_flattened_dict(
        {"init_from": "a", "data.pictures": "b", "data.mattes": "c", **settings}
    )
    return configuration


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"init_from": ""}, "init_from is empty.*p3m import"),
        ({"data.mattes": ""}, "must be given together"),
        ({"data.mattes": "b"}, "are the same folder"),
        ({"data.directory": "d"}, "choose only one of them"),
        ({"data.pictures": "", "data.mattes": ""}, "choose the pictures to fine-tune on"),
        ({"final_test_sets": ("P3M-500-P",)}, "final_test_sets"),
    ],
)
def test_settings_that_cannot_work(settings, sentence):
    parse(config(**{"batch_size": 8}))
    with pytest.raises(ConfigurationError, match=sentence):
        parse(config(**settings))


def test_another_networks_weights_are_found_out_before_anything_is_written(folder, tmp_path):
    other = common.variant("swin", "finetune")
    other.update_from_flattened_dict({"init_from": str(folder / "encoder"), "data.pictures": "a"})
    other.data.mattes = "b"
    with pytest.raises(ConfigurationError, match=r"checkpoint of resnet34, .* trains swin"):
        train_here(other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_without_mattes_are_named(folder, tmp_path):
    photos = shutil.copytree(folder / "photos", tmp_path / "photos")
    first = min(photos.iterdir())
    shutil.copy(first, photos / f"another{first.suffix}")
    named = config(**{"data.pictures": str(photos), "data.mattes": str(folder / "mattes")})
    with pytest.raises(DataSetError, match=r"1 kind of errors"):
        prepare_data(parse(named).data, tmp_path)
    named.data.pictures = str(folder / "photos")
    data = prepare_data(parse(named).data, tmp_path)
    assert (len(data.train.examples), len(data.validation.examples)) == (5, 1)
