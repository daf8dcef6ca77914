"""Pictures with mattes for `p3m predict`, and what it left in its output folder."""

import json
import sys

import numpy as np

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


def command(folders, *more):
    pictures, mattes, out = folders
    # Shells start what runs in their background with Ctrl-C ignored, and the tests may be that.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from p3m_jax.cli import main; sys.exit(main())"
    )
    return [
        *(sys.executable, "-c", program, "predict", str(pictures), "-o", str(out)),
        *("--alphas", str(mattes), "--save", "alpha", "cutout", "--workers", "2", *more),
    ]
