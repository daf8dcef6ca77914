"""Starts programs in their own processes, for tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# For programs that run only a few times: optimising them takes twice as long.
SOON_COMPILED = "--xla_backend_optimization_level=0"
# JAX's default, for comparisons with recorded float32 values: rounding differs between levels, and
# rounding decides which pixels flip.
WELL_COMPILED = {"xla_backend_optimization_level": 3}
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}

# The configuration of a small network, for tests that are not about P3M-Net.
SMALL_RUN = "tests/helpers/small_run.py"

# Settings of a run with a small step. Tests share them, so that they compile the same program.
SMALL_STEP = {
    "log_every": 1,
    "batch_size": 2,
    "data.crop_sizes": "(96,)",
    "data.output_size": 96,
    "validation_size": 96,
}

# The losses that depend on the fusion. It uses each pixel's largest class, so rounding can flip a
# pixel where two classes are equal. If N pixels have a mean error of 1 / 2, one flipped pixel
# changes a mean by up to 2 / N of its value.
FUSED_TERMS = {"total", "composition", "fusion_alpha", "fusion_laplacian"}


def environment(devices=1, *, soon=True):
    """Returns the environment of a process with this number of devices, which can import helpers.

    With `soon`, programs are compiled quickly, but may round the same operations differently.
    """
    flags = f"{SOON_COMPILED if soon else ''} --xla_force_host_platform_device_count={devices}"
    tests = PROJECT / "tests"
    paths = os.pathsep.join(map(str, (tests / "helpers", tests)))
    return {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths}


def start_training(config, workdir, settings, *arguments, devices=1, soon=True):
    """Starts train.py with settings; `config` is a path relative to the project's folder."""
    return subprocess.Popen(
        [
            sys.executable,
            PROJECT / "train.py",
            f"--config={PROJECT / config}",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in settings.items()),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(devices, soon=soon),
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def spoken(output):
    """Returns the lines that a process printed, without those of Gloo, which connects processes."""
    return [line for line in output.splitlines() if line and not line.startswith("[Gloo]")]
