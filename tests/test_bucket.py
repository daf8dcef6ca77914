"""Checkpoints in a bucket, held by an emulator of Google Cloud Storage that runs here."""

import importlib.util
import signal
import subprocess
import sys
import time
import urllib.request

import jax.numpy as jnp
import numpy as np
import pytest
from running import SMALL_RUN, SMALL_STEP, free_port, start_training
from small_network import found_by_name

from p3m_jax.checkpoints.arrays import CheckpointError
from p3m_jax.checkpoints.folder import complete_steps
from p3m_jax.checkpoints.weights import describe, load_for_inference, save_for_inference
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.models.network import Variables
from p3m_jax.storage.bucket import BucketError, folder_or_bucket
from p3m_jax.training.errors import RunFolderError
from p3m_jax.training.log import read_log
from p3m_jax.training.run_checkpoints import RunCheckpoints, newest_whole
from p3m_jax.training.run_folder import claim_run_folder
from p3m_jax.training.state import TrainState


@pytest.fixture(scope="module")
def bucket():
    """An empty bucket, to which this process and those it starts are led."""
    for package in ("gcp_storage_emulator", "gcsfs", "google.cloud.storage"):
        pytest.importorskip(package)
    address = f"http://localhost:{free_port()}"
    emulator = subprocess.Popen(
        [
            *(sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory"),
            *("--host=localhost", f"--port={address.rpartition(':')[2]}", "--default-bucket=runs"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "STORAGE_EMULATOR_HOST": address,  # of Google's and gcsfs' clients
        "TENSORSTORE_GCS_HTTP_URL": address,
        "NO_GCE_CHECK": "true",  # else Google is asked whether this is one of its machines
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{address}/storage/v1/b", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield "gs://runs"
    emulator.kill()
    emulator.wait()


def state_at(step):
    arrays = {"kernel": jnp.full((2, 3), float(step))}
    return TrainState(jnp.int32(step), arrays, {"mean": jnp.arange(3.0)}, (arrays, jnp.int32(step)))


def test_a_bucket_keeps_the_latest_and_the_best(bucket, capsys, monkeypatch):
    import fsspec
    import gcsfs

    folder = folder_or_bucket(f"{bucket}/kept/checkpoints")
    description = describe("resnet34", synthetic=False, provenance={})
    checkpoints = RunCheckpoints(folder, description, keep=2)
    for step, error in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, None)):
        checkpoints.save(state_at(step), error and {"SAD": error})
    checkpoints.close()
    assert sorted(int(step.name) for step in complete_steps(folder)) == [2, 4, 5]
    # A save that was cut off: all is there but the file that says so.
    (folder / "5" / "commit_success.txt").unlink()
    assert sorted(int(step.name) for step in complete_steps(folder)) == [2, 4]
    saved = newest_whole(folder, state_at(0))
    np.testing.assert_array_equal(saved.state.parameters["kernel"], 4.0)
    assert int(saved.state.step) == int(saved.state.optimizer[1]) == 4
    # One that is damaged. The emulator cannot move files, which is tried for half a minute.
    copy_and_delete = fsspec.asyn.AsyncFileSystem._mv_file
    monkeypatch.setattr(gcsfs.GCSFileSystem, "_mv_file", copy_and_delete)
    (folder / "4" / "state").rmtree()
    saved = newest_whole(folder, state_at(0))
    assert int(saved.state.step) == 2
    assert "kept as 4.damaged1" in capsys.readouterr().err
    assert (folder / "4.damaged1" / "_CHECKPOINT_METADATA").exists()
    assert [step.name for step in complete_steps(folder)] == ["2"]


def test_settings_are_those_of_the_bucket_wherever_a_run_goes_on(bucket, tmp_path):
    home = f"{bucket}/claimed"
    config = {"learning_rate": 1e-5, "checkpoint_directory": home}
    with claim_run_folder(tmp_path / "one", config):
        pass
    (folder_or_bucket(home) / "checkpoints" / "4" / "commit_success.txt").write_text("")
    with claim_run_folder(tmp_path / "another", config):
        pass
    config["learning_rate"] = 1e-3
    refused = pytest.raises(RunFolderError, match=r"gs://runs/claimed: .*learning_rate is 1e-05")
    with refused, claim_run_folder(tmp_path / "a_third", config):
        pass
    (folder_or_bucket(f"{bucket}/other") / "thesis.txt").write_text("mine")
    config["checkpoint_directory"] = f"{bucket}/other"
    refused = pytest.raises(RunFolderError, match=r"not a training run.*--config\.checkpoint_dir")
    with refused, claim_run_folder(tmp_path / "a_fourth", config):
        pass


def test_addresses_that_cannot_be_used(bucket, p3m, capfd, monkeypatch):
    for address in ("s3://bucket/run", "gs:/bucket", "gs://"):
        with pytest.raises(BucketError, match="gs://BUCKET/FOLDER"):
            folder_or_bucket(address)
    with pytest.raises(CheckpointError, match="a folder on disk"):
        save_for_inference(f"{bucket}/weights", Variables({}, {}), {})
    assert p3m("doctor", "--checkpoint", f"{bucket}/nothing") == 1
    assert "gs://runs/nothing: there is no such checkpoint" in capfd.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BucketError, match=r"pip install -e \"\.\[bucket\]\""):
        folder_or_bucket("gs://bucket/run")


@pytest.mark.slow
def test_a_killed_run_goes_on_from_the_bucket_in_another_folder(bucket, tmp_path):
    found_by_name()
    write_synthetic_set(tmp_path / "data", train=8, test=1, size=(128, 128), progress=False)
    home = folder_or_bucket(f"{bucket}/killed")
    settings = {
        **SMALL_STEP,
        "checkpoint_directory": home,
        "data.directory": tmp_path / "data",
        "steps": 6,
        "checkpoint_every": 2,
        "validate_every": 6,
        "final_test_sets": "()",
    }

    def start(workdir):
        return start_training(f"{SMALL_RUN}:smoke", tmp_path / workdir, settings)

    def losses(workdir):
        if not (tmp_path / workdir / "log.jsonl").exists():
            return {}
        return {line["step"]: line["total"] for line in read_log(tmp_path / workdir, "step")}

    killed = start("killed")
    while 5 not in losses("killed"):
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    steps = complete_steps(home / "checkpoints")
    assert steps
    again = start("elsewhere")
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0, output
    assert f"Resuming from step {max(int(step.name) for step in steps)} of {home}" in output
    before, after = losses("killed"), losses("elsewhere")
    assert 6 in after
    assert before.keys() & after.keys()
    assert all(before[step] == after[step] for step in before.keys() & after.keys())
    # Its weights are read from there, too.
    assert load_for_inference(str(home)).provenance["step"] == 6
