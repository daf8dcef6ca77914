"""Finds accelerators of this machine that JAX does not use.

If JAX's plugin for an accelerator is missing, JAX falls back to the CPU without a warning. So this
module looks for files of the accelerators' drivers instead of asking JAX.
"""

import contextlib
import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Variables that restrict JAX to certain platforms; the second is an older name.
_PLATFORMS = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


@dataclass(frozen=True)
class Kind:
    """A kind of accelerator.

    Attributes:
      name: shown to the user.
      platforms: JAX's names for devices of this kind.
      traces: files that the device's driver creates, as glob patterns relative to the root folder.
      plugins: prefixes of package names. JAX needs one of these packages to use the device.
      remedy: how to install the package.
      hidden_by: environment variables that can hide devices of this kind from JAX.
      vendor: PCI vendor number, as in sysfs ("0x1ae0"). If given, the machine must also have a PCI
        device of this vendor. If None, the traces are enough.
      certain: False if the traces may belong to a device that JAX does not support.
    """

    name: str
    platforms: tuple[str, ...]
    traces: tuple[str, ...]
    plugins: tuple[str, ...]
    remedy: str
    hidden_by: tuple[str, ...] = ()
    vendor: str | None = None
    certain: bool = True


ACCELERATORS = (
    Kind(
        "NVIDIA GPU",
        ("gpu", "cuda"),
        # The last pattern is for WSL, where GPUs of all makers share one device file.
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
        certain=False,  # integrated graphics of many laptops create this file, too
    ),
)


@dataclass(frozen=True)
class Finding:
    """An accelerator that exists but is not used.

    Attributes:
      kind: the name of its kind.
      reason: a sentence that says why it is not used, and the remedy.
      certain: False if JAX may not support the device.
    """

    kind: str
    reason: str
    certain: bool


def no_device() -> str | None:
    """Returns None if JAX has a device; otherwise a sentence with the cause and the remedy."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # JAX may also raise an AssertionError without a message
        variable = next((name for name in _PLATFORMS if os.environ.get(name)), None)
        if variable is not None:
            return (
                f"{variable}={os.environ[variable]}: JAX has no such device here; unset the "
                "variable, or set it to cpu."
            )
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"JAX has no device to run on ({reason}); set JAX_PLATFORMS=cpu to use the CPU."
    return None


def unused_accelerators(
    used: Iterable[str],
    *,
    root: Path = Path("/"),
    packages: Iterable[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Finds accelerators of this machine that JAX does not use.

    Args:
      used: the platforms of JAX's devices.
      root: the root of the file system to search.
      packages: names of the installed packages; None looks them up.
      environment: environment variables; None uses those of this process.
    """
    used = set(used)
    environment = os.environ if environment is None else environment
    if packages is None:
        packages = [found.name or "" for found in importlib.metadata.distributions()]
    variable = next((name for name in _PLATFORMS if environment.get(name)), "")
    chosen = environment.get(variable, "")
    findings = []
    for kind in ACCELERATORS:
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
            reason = f"{variable}={chosen} keeps JAX from using it: unset the variable."
        elif hiding:
            reason = f"{hiding[0]} hides it: unset the variable."
        else:
            reason = (
                "JAX's package for it is installed but does not find it: its driver may be too "
                "old, or another process or container may be using it."
            )
        findings.append(Finding(kind.name, reason, kind.certain))
    return findings


def _is_there(kind: Kind, root: Path) -> bool:
    if not any(next(root.glob(trace), None) for trace in kind.traces):
        return False
    if kind.vendor is None:
        return True
    for file in root.glob("sys/bus/pci/devices/*/vendor"):
        with contextlib.suppress(OSError):  # the device may be removed at this moment
            if file.read_text("ascii", errors="replace").strip() == kind.vendor:
                return True
    return False
