"""Programs as real processes, for the tests that start them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# For programs that run a few times: compiling them well takes twice as long.
SOON_COMPILED = "--xla_backend_optimization_level=0"
# As JAX compiles by default, for what is compared with recorded numbers in float32: rounding
# differs between levels, and with it which pixels flip.
WELL_COMPILED = {"xla_backend_optimization_level": 3}
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}

# What trains a small network, where the test is not about P3M-Net.
SMALL_RUN = "tests/helpers/small_run.py"

# Settings of a run whose step is small, and which all that trains so compiles alike.
SMALL_STEP = {
    "batch_size": 2,
    "data.crop_sizes": "(96,)",
    "data.output_size": 96,
    "validation_size": 96,
}

# The fusion asks which class is the largest, and rounding turns over a pixel where two are equal:
# of N pixels that err by a half on average, one moves a mean of these losses by up to 2 / N.
FUSED_TERMS = {"total", "composition", "fusion_alpha", "fusion_laplacian"}


def environment(devices=1, *, soon=True):
    """Of a process that sees so many devices and finds what lies beside the tests.

    `soon` compiles quickly; rounding then differs between programs that are else fused alike.
    """
    flags = f"{SOON_COMPILED if soon else ''} --xla_force_host_platform_device_count={devices}"
    tests = PROJECT / "tests"
    paths = os.pathsep.join(map(str, (tests / "helpers", tests)))
    return {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths}


def start_training(config, workdir, settings, *arguments, devices=1, soon=True):
    """Starts train.py with settings and a configuration, a path from the project's folder."""
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
    """The lines of a process, without those of the library that connects them."""
    return [line for line in output.splitlines() if line and not line.startswith("[Gloo]")]
