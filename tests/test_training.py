"""Training runs as users start them: real processes, killed, stopped, and gone on with.

They train a small network; `.ci/run` trains Swin-T by the README's command.
"""

import json
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import SMALL_RUN, SMALL_STEP, start_training
from small_network import found_by_name

from p3m_jax.checkpoints.folder import complete_steps
from p3m_jax.checkpoints.weights import load_for_inference, save_for_inference
from p3m_jax.configs import common
from p3m_jax.data.layouts import training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.models.network import ENCODERS
from p3m_jax.training import loop
from p3m_jax.training.errors import ConfigurationError, RunFolderError
from p3m_jax.training.log import RunLog, read_log
from p3m_jax.training.parsing import parse
from p3m_jax.training.run_folder import claim_data, claim_run_folder

STEPS = 8

SETTINGS = {
    **SMALL_STEP,
    "steps": STEPS,
    "checkpoint_every": 3,
    "validate_every": 4,
    "final_test_sets": "()",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a data set."""
    found_by_name()
    folder = tmp_path_factory.mktemp("training")
    write_synthetic_set(folder / "data", train=8, test=1, size=(128, 128), progress=False)
    return folder


def start(folder, workdir, *arguments, config=f"{SMALL_RUN}:smoke", **settings):
    settings = {**SETTINGS, "data.directory": folder / "data", **settings}
    return start_training(config, workdir, settings, *arguments)


def finish(process, expected=0):
    output = process.communicate(timeout=900)[0]
    assert process.returncode == expected, output
    return output


def losses(workdir):
    return {line["step"]: line["total"] for line in read_log(workdir, "step")}


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(folder):
    """An uninterrupted run and what it printed."""
    workdir = folder / "whole"
    return workdir, finish(start(folder, workdir))


@pytest.mark.slow
def test_a_run_leaves_weights_log_sheets_and_report(whole):
    workdir, output = whole
    assert sorted(losses(workdir)) == list(range(1, STEPS + 1))
    assert {line["step"] for line in read_log(workdir, "validation")} == {4, 8}
    for file in ("report.md", "curves.png", "sheets/step_000004.jpg", "sheets/step_000008.jpg"):
        assert (workdir / file).stat().st_size > 0
    assert list((workdir / "tensorboard").iterdir())
    report = (workdir / "report.md").read_text()
    assert "SYNTHETIC" in report
    assert "Validation split (1 picture" in report
    # Drawn by the project though named by the user: the run knows.
    lines = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    assert all(line["synthetic"] for line in lines)
    assert f"{STEPS}/{STEPS}" in output


@pytest.mark.slow
def test_exported_weights_are_those_of_the_best_step(whole):
    workdir, _ = whole
    errors = {line["step"]: line["SAD"] for line in read_log(workdir, "validation")}
    best = min(errors, key=errors.get)
    exported = load_for_inference(workdir)
    assert exported.path == (workdir / "inference").absolute()
    assert exported.synthetic
    assert exported.provenance["step"] == best
    of_step = load_for_inference(workdir / "checkpoints" / str(best))
    for name, array in exported.variables.parameters.items():
        np.testing.assert_array_equal(array, of_step.variables.parameters[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [pytest.param("between saves", marks=pytest.mark.release), "in the middle of a save"],
)
def test_a_killed_run_goes_on_with_the_same_losses(folder, whole, moment):
    workdir = folder / moment.replace(" ", "_")
    process = start(folder, workdir)
    checkpoints = workdir / "checkpoints"
    if moment == "between saves":
        wait_for(lambda: (workdir / "log.jsonl").exists() and 5 in losses(workdir), process)
    else:
        # The folder of step 4 under its temporary name: Orbax is writing it.
        wait_for(lambda: list(checkpoints.glob("4.*tmp*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    unfinished = list(checkpoints.glob("*tmp*"))
    assert moment == "between saves" or unfinished
    output = finish(start(folder, workdir))
    assert "Resuming from step" in output
    assert losses(workdir) == losses(whole[0])
    assert not list(checkpoints.glob("*tmp*"))


@pytest.mark.slow
def test_sigterm_saves_first_and_exits_cleanly(folder):
    workdir = folder / "stopped"
    process = start(folder, workdir)
    wait_for(lambda: (workdir / "log.jsonl").exists() and 1 in losses(workdir), process)
    process.terminate()
    output = finish(process)
    last = max(losses(workdir))
    assert f"SIGTERM: saved step {last} of {STEPS}" in output
    assert str(last) in {step.name for step in complete_steps(workdir / "checkpoints")}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(folder, whole):
    good, workdir = load_for_inference(whole[0]), folder / "diverged"
    huge = {name: 1e30 * np.asarray(array) for name, array in good.variables.parameters.items()}
    variables = good.variables._replace(parameters=huge)
    save_for_inference(folder / "huge", variables, good.description)
    output = finish(start(folder, workdir, init_from=folder / "huge"), expected=1)
    assert "Not finite at step 1" in output
    assert "Traceback" not in output
    assert not list((workdir / "checkpoints").glob("[0-9]*"))


@pytest.mark.slow
@pytest.mark.release  # from a folder of weights: tests/test_fine_tuning.py
def test_weights_can_be_taken_from_another_run(folder, whole):
    workdir = folder / "fine_tuned"
    settings = {"init_from": whole[0], "steps": 1, "learning_rate": 1e-30}
    finish(start(folder, workdir, **settings))
    first, second = load_for_inference(whole[0]), load_for_inference(workdir)
    for name, array in first.variables.parameters.items():
        np.testing.assert_array_equal(array, second.variables.parameters[name])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data.directory": "nowhere"}, "nowhere"),
        ({"learning_rat": 1}, "learning_rat"),
        ({"init_from": "~/nowhere"}, f"{Path.home() / 'nowhere'}: there is no such checkpoint"),
        ({"data.pictures": ""}, "data.pictures is empty; choose the folder of your pictures"),
        ({"data.mattes": ""}, "data.mattes is empty; choose the folder of their mattes"),
    ],
)
def test_wrong_settings_get_one_sentence(folder, tmp_path, settings, sentence):
    process = start(folder, tmp_path / "run", **settings)
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert sentence in output
    assert not (tmp_path / "run").exists() or "data.directory" in settings


def test_help_is_no_failure(folder, tmp_path):
    output = finish(start(folder, tmp_path / "run", "--help"))
    assert "--config" in output
    assert not (tmp_path / "run").exists()


def test_an_unknown_variant_is_named(folder, tmp_path):
    process = start(folder, tmp_path / "run", config="configs/swin.py:smok")
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "smok" in output


def test_a_missing_matte_stops_the_run_before_it_starts(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    next((data / "train" / "mask").iterdir()).unlink()
    output = finish(start(folder, tmp_path / "run", **{"data.directory": data}), expected=1)
    assert "synthetic_0000" in output
    assert "Traceback" not in output


def test_each_step_is_in_the_log_once_after_a_resume(tmp_path):
    log = RunLog(tmp_path, 0, synthetic=False)
    log.write("start", {"step": 0})
    for step in (1, 2, 3):
        log.write("step", {"step": step, "total": 1.0})
    log.write("validation", {"step": 3, "SAD": 1.0})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # killed
    log = RunLog(tmp_path, 2, synthetic=False)
    for step in (3, 4):
        log.write("step", {"step": step, "total": 2.0})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [
        *[("start", 0), ("step", 1), ("step", 2), ("step", 3), ("step", 4)]
    ]
    assert read_log(tmp_path, "step")[2]["total"] == 2.0
    assert read_log(tmp_path / "elsewhere", "step") == []


@pytest.mark.parametrize("rate", [0.0, -1e-5, float("nan"), float("inf")])
def test_learning_rates_that_cannot_train_are_refused(rate):
    config = common.recipe("resnet34")
    config.learning_rate = rate
    with pytest.raises(
        ConfigurationError, match=r"learning_rate is .*; it must be a number above 0"
    ):
        parse(config)


def saved_step(run):
    """What the folder's owner looks at: a checkpoint that is complete."""
    step = run / "checkpoints" / "4"
    step.mkdir(parents=True)
    (step / "_CHECKPOINT_METADATA").write_text("{}")


def test_settings_may_change_until_a_step_is_saved_and_only_some_after(tmp_path):
    run = tmp_path / "run"
    config = {"learning_rate": 1e-5, "steps": 10, "data": {"directory": "a"}}
    for config["learning_rate"] in (1e-5, 1e-3):
        with claim_run_folder(run, config):
            pass
    saved_step(run)
    config["steps"], config["data"]["directory"] = 20, "moved"
    with claim_run_folder(run, config):
        pass
    config["learning_rate"] = 1e-4
    refused = pytest.raises(
        RunFolderError, match=r"learning_rate is 0.001 in that run and 0.0001 now"
    )
    with refused, claim_run_folder(run, config):
        pass


def test_a_run_does_not_lose_its_checkpoints_by_another_place_for_them(tmp_path):
    here, elsewhere = {"steps": 1}, tmp_path / "elsewhere"
    there = {"steps": 1, "checkpoint_directory": str(elsewhere)}
    for first, other, home in ((here, there, tmp_path / "a"), (there, here, elsewhere)):
        run = tmp_path / ("a" if first is here else "b")
        for config in (other, first):  # before a step is saved it may change
            with claim_run_folder(run, config):
                pass
        saved_step(home)
        refused = pytest.raises(RunFolderError, match="the checkpoints of its run are in")
        with refused, claim_run_folder(run, other):
            pass
        with claim_run_folder(run, first):
            pass


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    refused = pytest.raises(RunFolderError, match="not a training run")
    with refused, claim_run_folder(tmp_path, {"steps": 1}):
        pass


@pytest.mark.parametrize("place", ["gs://bucket/run", Path("gs://bucket/run"), "s3:/bucket"])
def test_a_bucket_is_no_folder(place):
    with pytest.raises(RunFolderError, match=r"--config\.checkpoint_directory="):
        loop.train(common.variant("resnet34", "smoke"), place)


def test_only_one_process_trains_in_a_folder(tmp_path):
    config = {"steps": 1}
    refused = pytest.raises(RunFolderError, match="another process")
    with claim_run_folder(tmp_path / "run", config), refused:  # noqa: SIM117
        with claim_run_folder(tmp_path / "run", config):
            pass


def test_other_pictures_may_not_go_on_in_a_run(folder, tmp_path):
    dataset = training_set(folder / "data")
    claim_data(tmp_path, dataset)
    saved_step(tmp_path)
    claim_data(tmp_path, dataset)
    with pytest.raises(RunFolderError, match="other pictures"):
        claim_data(tmp_path, replace(dataset, synthetic=False))
    with pytest.raises(RunFolderError, match="other pictures"):
        claim_data(tmp_path, replace(dataset, examples=dataset.examples[1:]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"network": "resnet50"}, "network is 'resnet50'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"loss.weights.detail": -1.0}, "loss.weights.detail is -1; it must be 0 or positive"),
        ({"validation_size": 100}, "validation_size is 100; it must be a positive multiple of 32"),
        ({"data.output_size": 16}, "data.output_size is 16"),
        ({"final_test_sets": ("P3M",)}, "final_test_sets names 'P3M'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, sentence):
    config = common.variant("swin", "smoke")
    config.update_from_flattened_dict(settings)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        parse(config)


@pytest.mark.parametrize("network", sorted(ENCODERS))
@pytest.mark.parametrize("name", ["", "demonstration", "smoke"])
def test_the_variants_can_work(network, name):
    parse(common.variant(network, name))
