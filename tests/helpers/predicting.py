"""Helpers for tests of `p3m predict`: pictures, mattes, a network, and readers of the outputs."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from p3m_jax.checkpoints.weights import InferenceCheckpoint
from p3m_jax.models.network import Variables
from p3m_jax.models.p3m_net import Outputs, fuse

RNG = np.random.default_rng(0)


def picture_of(height=40, width=60):
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def matte_of(height=40, width=60):
    ramp = np.linspace(-200, 455, width).clip(0, 255)
    return np.repeat(np.rint(ramp)[None], height, axis=0).astype(np.uint8)


def manifest(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def tree(folder):
    """Returns {path: (content, time of change)} of all files in a folder but the manifest."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def arguments(folders, *more):
    """Returns the arguments of `p3m` that save alphas and cut-outs of pictures with mattes."""
    pictures, mattes, out = folders
    return [
        *("predict", str(pictures), "-o", str(out)),
        *("--alphas", str(mattes), "--save", "alpha", "cutout", "--workers", "2", *more),
    ]


def command(folders, *more):
    """Returns the command line that runs `p3m` with `arguments` in its own process."""
    # A shell makes background jobs ignore Ctrl-C, and the tests may run as such a job.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from p3m_jax.cli import main; sys.exit(main())"
    )
    return [sys.executable, "-c", program, *arguments(folders, *more)]


class RedIsOpaque:
    """A stand-in for a network: red pixels are the person, half-red pixels are transition."""

    name = "red"

    def apply(self, variables, pictures):
        red = pictures[..., :1]
        logits = [red < 64, (red >= 64) & (red <= 192), red > 192]
        semantic = jnp.concatenate(logits, axis=-1).astype(jnp.float32)
        alpha = (red > 128).astype(jnp.float32)
        return Outputs(semantic, alpha, fuse(semantic, alpha), *[semantic] * 3), {}


def red_is_opaque():
    """Returns a checkpoint of `RedIsOpaque`."""
    return InferenceCheckpoint(RedIsOpaque(), Variables({}, {}), {}, Path())
