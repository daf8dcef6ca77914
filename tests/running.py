"""Trainings as real processes, for the tests that start them."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def start_training(config, workdir, settings, *arguments, compiled):
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
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compiled)},
    )
