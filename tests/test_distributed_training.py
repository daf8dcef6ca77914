"""Trainings and evaluations by two processes, against those by one; one of them lost or stopped."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from running import (
    FUSED_TERMS,
    PROJECT,
    SMALL_RUN,
    environment,
    free_port,
    spoken,
    start_training,
)
from small_network import found_by_name

from p3m_jax.checkpoints.weights import load_for_inference
from p3m_jax.data.layouts import find_test_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.evaluation.evaluator import evaluate_examples
from p3m_jax.evaluation.output import matte_path
from p3m_jax.evaluation.summary import summarise
from p3m_jax.inference.programs import predictor
from p3m_jax.runtime import distributed
from p3m_jax.training.log import read_log

STEPS = 6
SETTINGS = {
    "batch_size": 4,
    "learning_rate": 1e-5,
    "stochastic_depth": False,
    "data.crop_sizes": "(96,)",
    "log_every": 1,
    "checkpoint_every": 2,
    "validate_every": STEPS,
    "final_test_sets": "('P3M-500-P',)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found_by_name()
    folder = tmp_path_factory.mktemp("distributed")
    write_synthetic_set(folder / "data", train=11, test=3, size=(128, 128), progress=False)
    return folder


def start(folder, workdir, steps, processes=1, devices=1):
    """The processes of one training."""
    settings = {**SETTINGS, "steps": steps, "data.directory": folder / "data"}
    port = free_port()
    return [
        start_training(
            f"{SMALL_RUN}:smoke",
            workdir,
            settings,
            *([f"--distributed=localhost:{port},{processes},{index}"] if processes > 1 else []),
            devices=devices,
        )
        for index in range(processes)
    ]


def finish(processes):
    outputs = [process.communicate(timeout=1200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


TERMS = (
    *("total", "composition", "detail_alpha", "detail_laplacian", "fusion_alpha"),
    *("fusion_laplacian", "semantic_entropy", "side0_entropy", "side1_entropy", "side2_entropy"),
)


def losses(workdir):
    return {
        line["step"]: {name: line[name] for name in TERMS} for line in read_log(workdir, "step")
    }


# Steps in float64, where rounding turns over no pooled position and no sign of Adam's.
STEPS_IN_FLOAT64 = """
import json
import sys

import jax
import numpy as np
import optax

from p3m_jax.runtime import distributed
from p3m_jax.data.layouts import training_set
from p3m_jax.input.pipeline import training_batches
from p3m_jax.models.network import network
from p3m_jax.training.sharding import Places
from p3m_jax.training.state import initial_state
from p3m_jax.training.step import make_train_step

with distributed.connected(sys.argv[1]):
    net, optimizer, places = network("resnet34"), optax.adam(1e-5), Places.of_all_devices()
    first = lambda variables: initial_state(net, optimizer, variables)
    variables = jax.tree.map(np.float64, net.initialize(0))
    state = jax.jit(first, out_shardings=places.everywhere)(variables)
    step = jax.jit(make_train_step(net, optimizer), out_shardings=places.everywhere)
    shard = jax.process_index(), jax.process_count()
    batches = training_batches(
        training_set(sys.argv[2]), batch_size=4, crop_sizes=(96,), output_size=96, seed=0,
        shard=shard,
    )
    batch = places.batch(next(batches))
    step = step.lower(state, batch).compile()
    distributed.gather([])
    found = []
    for _ in range(4):
        state, terms = step(state, batch)
        found.append({name: float(value) for name, value in terms.items()})
        batch = places.batch(next(batches))
    for part in (state.statistics, state.parameters):
        # A bias before a BatchNorm has no gradient, so Adam follows what rounding leaves of it.
        norms = {n: float(np.linalg.norm(a)) for n, a in places.local(part).items()}
        found.append({n: v for n, v in norms.items() if not n.endswith("convolution.bias")})
    print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.release  # a small network's, by train.py: the next test
def test_steps_of_two_processes_are_those_of_one(folder):
    results = []
    for processes, devices in ((1, 1), (2, 2)):
        port = free_port()
        running = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", STEPS_IN_FLOAT64),
                    f"localhost:{port},2,{index}" if processes > 1 else "off",
                    folder / "data",
                ],
                env={**environment(devices), "JAX_ENABLE_X64": "1"},
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(processes)
        ]
        results.append(json.loads(spoken(finish(running)[0])[-1]))
    one, two = results
    for ours, expected in zip(two, one, strict=True):
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_two_processes_train_as_one(folder):
    finish(start(folder, folder / "one", STEPS))
    _, silent = finish(start(folder, folder / "two", STEPS, processes=2, devices=2))
    assert "Training" not in silent
    one, two = losses(folder / "one"), losses(folder / "two")
    assert one.keys() == two.keys() == set(range(1, STEPS + 1))
    for step in one:
        # One pixel of 4 x 96 x 96 moves a mean of the fusion by up to 5.4e-5; float32 rounds to
        # 1.2e-7, and the order of a sum costs a few times that.
        for name, value in one[step].items():
            bound = 1e-4 if name in FUSED_TERMS else 2e-6
            np.testing.assert_allclose(two[step][name], value, rtol=bound, err_msg=f"{step} {name}")
    validations = [read_log(folder / name, "validation")[-1] for name in ("one", "two")]
    # A pixel of the 96 x 96 that flips moves the SAD of the picture, about 10, by up to 0.0018.
    np.testing.assert_allclose(validations[1]["SAD"], validations[0]["SAD"], rtol=2e-4)
    weights = [load_for_inference(folder / name).variables for name in ("one", "two")]
    moved = 1e-5 * STEPS
    for name, values in weights[0].parameters.items():
        difference = np.abs(np.asarray(values) - np.asarray(weights[1].parameters[name]))
        assert difference.mean() < 1e-3 * moved, name
    # Both have scored the test set, a part each.
    report = (folder / "two" / "report.md").read_text()
    assert "P3M-500-P (3 pictures" in report
    names, _, scores = re.findall(r"^\|(.*)\|$", report.partition("## P3M-500-P")[2], re.MULTILINE)
    one = load_for_inference(folder / "two")
    rows = evaluate_examples(
        predictor(one.network, one.variables),
        find_test_set(folder / "data", "P3M-500-P"),
        model_name=one.model_name,
    )
    assert len(rows) == 3
    means = summarise(rows)
    for name, score in zip(names.split("|")[1:], scores.split("|")[1:], strict=True):
        # The report shows four digits, and a pixel may flip on one device.
        np.testing.assert_allclose(float(score), means[name.strip()].mean, rtol=1e-3, err_msg=name)


# Without a run around it: the test before.
@pytest.mark.release
@pytest.mark.slow
def test_two_processes_evaluate_as_one(folder):
    if not (folder / "one" / "inference").is_dir():
        pytest.skip("goes with the test before")
    results = []
    for processes in (1, 2):
        port, output = free_port(), folder / f"scores-{processes}"
        places = [f"localhost:{port},2,{index}" for index in (0, 1)] if processes > 1 else ["off"]
        command = [sys.executable, PROJECT / "evaluate.py", "--checkpoint", folder / "one"]
        command += ["--set", "P3M-500-P", "--data", folder / "data", "-o", output, "--save-mattes"]
        running = [
            subprocess.Popen(
                [*command, "--distributed", places[index]],
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(processes)
        ]
        outputs = finish(running)
        assert all(not spoken(silent) for silent in outputs[1:])
        results.append(json.loads((output / "results.json").read_text())["results"]["resize"])
        for example in range(3):
            assert matte_path(output, "resize", f"synthetic_{example:05d}").is_file()
        assert (output / "worst_resize.jpg").exists()
    one, two = (result["pictures"] for result in results)
    assert len(one) == 3
    for expected, row in zip(one, two, strict=True):
        assert row["stem"] == expected["stem"]
        for name in expected.keys() - {"stem"}:  # OpenCV sums as arrays happen to lie in memory
            np.testing.assert_allclose(row[name], expected[name], rtol=1e-7, err_msg=name)


# One process that is killed or stopped: tests/test_training.py.
@pytest.mark.slow
@pytest.mark.release
def test_a_lost_process_ends_the_job_which_goes_on_exactly(folder):
    if not (folder / "two").is_dir():
        pytest.skip("goes with the test before")
    workdir = folder / "killed"
    running = start(folder, workdir, STEPS, processes=2, devices=2)
    while not (workdir / "log.jsonl").exists() or 3 not in losses(workdir):
        assert running[0].poll() is None, running[0].communicate()[0]
        time.sleep(0.1)
    running[1].kill()
    killed = time.time()
    output = running[0].communicate(timeout=200)[0]
    assert time.time() - killed < distributed.HEARTBEAT_SECONDS + 60
    assert running[0].returncode != 0
    # By an error of the collective, or by the heartbeats that fail to come.
    assert re.search("nother process of this job is gone.*Start all processes again", output)
    running[1].communicate()
    finish(start(folder, workdir, STEPS, processes=2, devices=2))
    assert losses(workdir) == losses(folder / "two")
    # One process goes on where two stopped, on the same batches.
    finish(start(folder, workdir, STEPS + 2))
    finish(start(folder, folder / "one", STEPS + 2))
    one, other = losses(folder / "one"), losses(workdir)
    for step in (STEPS + 1, STEPS + 2):
        np.testing.assert_allclose(other[step]["total"], one[step]["total"], rtol=5e-2)


@pytest.mark.slow
@pytest.mark.release
def test_sigterm_to_one_process_stops_all_of_them(folder):
    if not (folder / "two").is_dir():
        pytest.skip("goes with the test before")
    workdir = folder / "preempted"
    running = start(folder, workdir, 1000, processes=2, devices=2)
    while not (workdir / "log.jsonl").exists() or 2 not in losses(workdir):
        assert running[0].poll() is None, running[0].communicate()[0]
        time.sleep(0.1)
    running[1].send_signal(signal.SIGTERM)
    first, _ = finish(running)
    assert "SIGTERM: saved step" in first
    saved = max(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*"))
    assert saved == max(losses(workdir)) < 1000
    shutil.rmtree(workdir)
