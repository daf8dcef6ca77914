"""A run's checkpoints: damaged ones are passed over and kept, a full disk is one sentence."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from running import environment, free_port

from p3m_jax.checkpoints.arrays import CheckpointError
from p3m_jax.checkpoints.weights import describe
from p3m_jax.training.run_checkpoints import RunCheckpoints, newest_whole
from p3m_jax.training.state import TrainState

DESCRIPTION = describe("resnet34", synthetic=False, provenance={})
OPTIMIZER = optax.adam(1e-3)


def state_at(step):
    arrays = {"kernel": jnp.full((20, 30), float(step)), "bias": jnp.arange(3.0)}
    return TrainState(
        jnp.int32(step), arrays, {"mean": jnp.arange(3.0)}, OPTIMIZER.init(arrays), arrays
    )


def save(folder, *steps):
    checkpoints = RunCheckpoints(folder, DESCRIPTION, keep=3)
    for step in steps:
        checkpoints.save(state_at(step))
    checkpoints.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def largest(folder):
    return max(folder.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def truncate(step):
    file = largest(step)
    file.write_bytes(file.read_bytes()[:100])


DAMAGE = {
    "cut off": truncate,
    "an array changed": lambda step: largest(step).write_bytes(
        largest(step).read_bytes()[:-1] + b"?"
    ),
    "a file missing": lambda step: largest(step).unlink(),
    "no description": lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
    "garbage for a description": lambda step: (step / "_CHECKPOINT_METADATA").write_bytes(b"\xff"),
    "no tree": lambda step: (step / "state" / "_METADATA").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_kept_and_passed_over(damage, tmp_path, capfd, monkeypatch):
    save(tmp_path, 1, 2, 3)
    DAMAGE[damage](tmp_path / "3")
    monkeypatch.chdir(tmp_path.parent)
    saved = newest_whole(Path(tmp_path.name), state_at(0))  # as users name folders
    jax.tree.map(np.testing.assert_array_equal, saved.state, state_at(2))
    assert saved.description["provenance"]["step"] == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"{tmp_path / '3'}: ")
    assert "It is kept as 3.damaged1, and the run resumes from step 2." in said
    assert names(tmp_path) == ["1", "2", "3.damaged1"]
    # The run takes its step again, and what was set aside stays.
    save(tmp_path, 3, 4, 5)
    assert names(tmp_path) == ["3", "3.damaged1", "4", "5"]
    assert int(newest_whole(tmp_path, state_at(0)).state.step) == 5


def test_where_all_are_damaged_nothing_is_renamed(tmp_path):
    assert newest_whole(tmp_path, state_at(0)) is None
    save(tmp_path, 1)
    truncate(tmp_path / "1")
    with pytest.raises(CheckpointError, match=r"1: is damaged.*no older one.*start over") as caught:
        newest_whole(tmp_path, state_at(0))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["1"]


def test_a_run_of_another_version_is_not_taken_for_damaged(tmp_path):
    save(tmp_path, 1, 2)
    like = state_at(0)._replace(statistics={"variance": jnp.ones(3)})
    with pytest.raises(CheckpointError, match="does not contain statistics/variance"):
        newest_whole(tmp_path, like)
    assert names(tmp_path) == ["1", "2"]


def test_states_go_back_to_devices_and_can_be_donated(tmp_path):
    save(tmp_path, 1)
    saved = newest_whole(tmp_path, state_at(0))
    where = jax.tree.map(lambda array: array.sharding, state_at(0))
    state = saved.placed(where)
    after = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), after, saved.state)
    jax.tree.map(np.testing.assert_array_equal, saved.state, state_at(1))


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from test_run_checkpoints import DESCRIPTION, RunCheckpoints, save, state_at
from p3m_jax.commands import one_sentence_errors

folder, when = Path(sys.argv[1]), sys.argv[2]
save(folder, 1)
with one_sentence_errors():
    checkpoints = RunCheckpoints(folder, DESCRIPTION, keep=2)
    state = state_at(2)
    state.parameters["kernel"] = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    checkpoints.save(state)
    if when == "at the next save":
        checkpoints.save(state_at(3))
    checkpoints.close()
"""


@pytest.mark.parametrize("when", ["at the next save", "at the end"])
def test_a_full_disk_is_one_sentence(when, tmp_path):
    command = [sys.executable, "-c", FULL, tmp_path / "run", when]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, env=environment()
    )
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"{tmp_path / 'run' / '2'}: cannot be saved (File too large); free some disk space, then "
        "run the same command again to resume from step 1."
    )
    assert names(tmp_path / "run") == ["1"]


def test_a_state_that_is_no_number_is_not_saved(tmp_path):
    from p3m_jax.training.errors import TrainingDiverged
    from p3m_jax.training.loop import _save

    checkpoints = RunCheckpoints(tmp_path / "run", DESCRIPTION, keep=2)
    state = state_at(1)
    state.statistics["mean"] = jnp.array([0.0, jnp.inf])
    with pytest.raises(TrainingDiverged, match=r"step 1: statistics/mean"):
        _save(checkpoints, state, tmp_path)
    checkpoints.close()
    assert names(tmp_path / "run") == []


TWO = """
import sys
from pathlib import Path

import jax
import numpy as np
from p3m_jax.runtime import distributed

with distributed.connected(sys.argv[1]):
    from test_run_checkpoints import DESCRIPTION, OPTIMIZER, RunCheckpoints, newest_whole, truncate
    from p3m_jax.training.sharding import Places
    from p3m_jax.training.state import initial_state
    from p3m_jax.models.network import Variables

    folder, places = Path(sys.argv[2]), Places.of_all_devices()
    kernel = np.random.default_rng(0).normal(size=(512, 256)).astype(np.float32)  # is cut
    host = initial_state(None, OPTIMIZER, Variables({"kernel": kernel}, {"mean": kernel[0]}))
    where = places.of_state(host, cut=True)
    state = jax.jit(lambda: host, out_shardings=where)()
    assert not state.parameters["kernel"].is_fully_addressable
    checkpoints = RunCheckpoints(folder, DESCRIPTION, keep=2)
    for step in (1, 2):
        checkpoints.save(state._replace(step=state.step + step))
    checkpoints.close()
    if distributed.is_first():
        truncate(folder / "2")
    distributed.gather([])
    with distributed.first_in_turn("the checkpoints"):
        saved = newest_whole(folder, host)
    np.testing.assert_array_equal(saved.state.parameters["kernel"], kernel)
    assert saved.state.step == 1
    again = saved.placed(where)
    there = again.parameters["kernel"]
    assert there.sharding == where.parameters["kernel"]
    assert bool(jax.jit(lambda array: (array == kernel).all())(there))
    print("well")
"""


def test_two_processes_save_what_is_cut_among_them_and_resume_alike(tmp_path):
    how, folder = f"localhost:{free_port()}", tmp_path / "run"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, f"{how},2,{number}", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0][0].endswith("well\n")
    notes = "".join(error for _, error in said)
    assert notes.count("It is kept as 2.damaged1, and the run resumes from step 1.") == 1
    assert names(folder) == ["1", "2.damaged1"]
