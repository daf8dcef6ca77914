"""Programs as real processes, for the tests that start them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def start_training(config, workdir, settings, *arguments, compiled, devices=1):
    """Starts train.py with a file of configs/ and settings; compiled programs go to `compiled`."""
    return subprocess.Popen(
        [
            sys.executable,
            PROJECT / "train.py",
            f"--config={PROJECT / 'configs' / config}",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in settings.items()),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def spoken(output):
    """The lines of a process, without those of the library that connects them."""
    return [line for line in output.splitlines() if line and not line.startswith("[Gloo]")]
