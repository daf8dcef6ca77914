"""Pictures with mattes for `p3m predict`, a network for them, and what it left behind."""

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
    """Everything in a folder but the manifest, hidden files included."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def arguments(folders, *more):
    """Those of `p3m` that save alphas and cut-outs of pictures with mattes."""
    pictures, mattes, out = folders
    return [
        *("predict", str(pictures), "-o", str(out)),
        *("--alphas", str(mattes), "--save", "alpha", "cutout", "--workers", "2", *more),
    ]


def command(folders, *more):
    """The same as a process."""
    # Shells start what runs in their background with Ctrl-C ignored, and the tests may be that.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from p3m_jax.cli import main; sys.exit(main())"
    )
    return [sys.executable, "-c", program, *arguments(folders, *more)]


class RedIsOpaque:
    """Stands for a network: red is the person, and where it is neither red nor not, transition."""

    name = "red"

    def apply(self, variables, pictures):
        red = pictures[..., :1]
        logits = [red < 64, (red >= 64) & (red <= 192), red > 192]
        semantic = jnp.concatenate(logits, axis=-1).astype(jnp.float32)
        alpha = (red > 128).astype(jnp.float32)
        return Outputs(semantic, alpha, fuse(semantic, alpha), *[semantic] * 3), {}


def red_is_opaque():
    """A checkpoint of it."""
    return InferenceCheckpoint(RedIsOpaque(), Variables({}, {}), {}, Path())
