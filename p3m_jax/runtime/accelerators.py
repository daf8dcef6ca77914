"""Accelerators that this machine shows, found by looking at files alone.

JAX falls back to the CPU without a word where its plugin for the accelerator is missing.
"""

import contextlib
import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# What makes JAX use these platforms alone, the second in an older spelling.
_PLATFORMS = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


@dataclass(frozen=True)
class Kind:
    """A kind of accelerator.

    Attributes:
      name: for people.
      platforms: what JAX calls devices of this kind.
      traces: files that its driver makes, as patterns under the root folder.
      vendor: of PCI, in sysfs' spelling; where it is given, a device of it has to be there, too.
      plugins: packages of which JAX needs one, as beginnings of their names.
      remedy: how to get them.
      hidden_by: variables that choose among such devices.
      certain: False where the traces may mean a device that JAX does not support.
    """

    name: str
    platforms: tuple[str, ...]
    traces: tuple[str, ...]
    plugins: tuple[str, ...]
    remedy: str
    hidden_by: tuple[str, ...] = ()
    vendor: str | None = None
    certain: bool = True


KINDS = (
    Kind(
        "NVIDIA GPU",
        ("gpu", "cuda"),
        # The last: under WSL, whose own device any maker's GPU has.
        ("dev/nvidia[0-9]*", "proc/driver/nvidia/gpus/*", "usr/lib/wsl/lib/libcuda.so*"),
        ("jax-cuda",),
        'pip install -e ".[cuda]"',
        hidden_by=("CUDA_VISIBLE_DEVICES",),
    ),
    Kind(
        "TPU",
        ("tpu",),
        ("dev/accel[0-9]*", "dev/vfio/[0-9]*"),
        ("libtpu",),
        'pip install -e ".[tpu]"',
        vendor="0x1ae0",  # Google
    ),
    Kind(
        "AMD GPU",
        ("gpu", "rocm"),
        ("dev/kfd",),
        ("jax-rocm",),
        "install JAX for ROCm as its documentation says",
        hidden_by=("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        certain=False,  # many a laptop's graphics
    ),
)


@dataclass(frozen=True)
class Finding:
    """An accelerator that is there and not used.

    Attributes:
      kind: its name.
      reason: a sentence with the remedy.
      certain: False where it may be one that JAX does not support.
    """

    kind: str
    reason: str
    certain: bool


def no_device() -> str | None:
    """Why JAX has no device to run on, as a sentence with the remedy; None where it has one."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # also an AssertionError without a word
        variable = next((name for name in _PLATFORMS if os.environ.get(name)), None)
        if variable is not None:
            return (
                f"{variable}={os.environ[variable]}: JAX has no such device here; unset the "
                "variable, or say cpu."
            )
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"JAX has no device to run on ({reason}); JAX_PLATFORMS=cpu takes the CPU."
    return None


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
    variable = next((name for name in _PLATFORMS if environment.get(name)), "")
    chosen = environment.get(variable, "")
    findings = []
    for kind in KINDS:
        if used & set(kind.platforms):
            continue
        if not _is_there(kind, root):
            continue
        hiding = [
            name for name in kind.hidden_by if environment.get(name, "0").strip() in ("", "-1")
        ]
        if not any(name.lower().startswith(kind.plugins) for name in packages):
            reason = f"JAX's package for it is not installed: {kind.remedy}."
        elif chosen and not set(chosen.split(",")) & set(kind.platforms):
            reason = f"{variable}={chosen} keeps JAX from it: unset the variable."
        elif hiding:
            reason = f"{hiding[0]} hides it: unset the variable."
        else:
            reason = (
                "JAX's package for it is installed and does not find it: its driver may be too "
                "old, or another process or container may hold it."
            )
        findings.append(Finding(kind.name, reason, kind.certain))
    return findings


def _is_there(kind: Kind, root: Path) -> bool:
    if not any(next(root.glob(trace), None) for trace in kind.traces):
        return False
    if kind.vendor is None:
        return True
    for file in root.glob("sys/bus/pci/devices/*/vendor"):
        with contextlib.suppress(OSError):  # a device that is just being taken away
            if file.read_text("ascii", errors="replace").strip() == kind.vendor:
                return True
    return False
