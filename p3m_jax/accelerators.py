"""Accelerators that this machine shows, found by looking at files alone.

JAX falls back to the CPU without a word where its plugin for the accelerator is missing.
"""

import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of accelerator.

    Attributes:
      name: for people.
      platforms: what JAX calls devices of this kind.
      traces: files that its driver makes, as patterns under the root folder.
      plugins: packages of which JAX needs one, as beginnings of their names.
      remedy: how to get them.
    """

    name: str
    platforms: tuple[str, ...]
    traces: tuple[str, ...]
    plugins: tuple[str, ...]
    remedy: str


KINDS = (
    Kind(
        "NVIDIA GPU",
        ("gpu", "cuda"),
        ("dev/nvidia[0-9]*", "proc/driver/nvidia/gpus/*", "dev/dxg"),
        ("jax-cuda",),
        'pip install -e ".[cuda]"',
    ),
    Kind("TPU", ("tpu",), ("dev/accel[0-9]*",), ("libtpu",), 'pip install -e ".[tpu]"'),
    Kind(
        "AMD GPU",
        ("gpu", "rocm"),
        ("dev/kfd",),
        ("jax-rocm",),
        "install JAX for ROCm as its documentation says",
    ),
)


@dataclass(frozen=True)
class Finding:
    """An accelerator that is there and not used; `reason` is a sentence with the remedy."""

    kind: str
    reason: str


def unused_accelerators(
    used: Iterable[str],
    *,
    root: Path = Path("/"),
    packages: Iterable[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[Finding]:
    """What the machine shows of accelerators beyond those that JAX uses.

    Args:
      used: the platforms of JAX's devices.
      root: the file system to look at.
      packages: names of what is installed; None looks it up.
      environment: None takes this process's.
    """
    used = set(used)
    environment = os.environ if environment is None else environment
    if packages is None:
        packages = [found.name or "" for found in importlib.metadata.distributions()]
    chosen = environment.get("JAX_PLATFORMS", "")
    findings = []
    for kind in KINDS:
        if used & set(kind.platforms):
            continue
        if not any(next(root.glob(trace), None) for trace in kind.traces):
            continue
        if not any(name.lower().startswith(kind.plugins) for name in packages):
            reason = f"JAX's package for it is not installed: {kind.remedy}."
        elif chosen and not set(chosen.split(",")) & set(kind.platforms):
            reason = f"JAX_PLATFORMS={chosen} keeps JAX from it: unset the variable."
        elif environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
            reason = "CUDA_VISIBLE_DEVICES hides it: unset the variable."
        else:
            reason = (
                "JAX's package for it is installed and does not find it: its driver may be too "
                "old, or another process or container may hold it."
            )
        findings.append(Finding(kind.name, reason))
    return findings
