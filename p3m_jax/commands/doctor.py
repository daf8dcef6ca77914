"""`p3m doctor`: shows the installation and the machine, and checks that both work."""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path

import p3m_jax
from p3m_jax.commands.options import add_compilation_cache, at_least
from p3m_jax.text import counted, say, shown

HELP = "show versions, devices and caches, and time one forward pass, without the internet"

# {package to install: module to import}. The packages of TRAINING are needed only for training.
PACKAGES = {name: name for name in ("jax", "jaxlib", "flax", "numpy", "scipy")}
PACKAGES |= {"orbax-checkpoint": "orbax", "pillow": "PIL", "opencv-python-headless": "cv2"}
PACKAGES |= {"pymatting": "pymatting", "safetensors": "safetensors"}
MISSING = "MISSING"
TRAINING = ("tensorflow-cpu", "tensorflow", "optax", "matplotlib")

EPILOG = "Exit code: 0 everything works, 1 something is wrong; the last lines say what."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="weights for the timing (default: ResNet-34 with random weights, which are as fast as "
        "trained ones)",
    )
    parser.add_argument(
        "--size",
        type=at_least(32),
        default=512,
        metavar="N",
        help="side of the timed picture in pixels, rounded down to a multiple of 32 (default: 512)",
    )
    add_compilation_cache(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the report; returns 1 if it lists a problem, such as an unused accelerator, else 0."""
    from p3m_jax.runtime.accelerators import no_device
    from p3m_jax.runtime.compilation import keep_compiled

    warning = keep_compiled(args.compilation_cache)
    problems = [warning] if warning else []
    problems += _show_versions()
    unavailable = no_device()
    problems += [unavailable] if unavailable else _show_devices()
    _show_caches()
    if not unavailable:
        problems += _time_forward(args.checkpoint, args.size // 32 * 32)
    say("\n" + ("\n".join(f"PROBLEM: {shown(text)}" for text in problems) or "All is well."))
    return 1 if problems else 0


def _section(title: str, rows: dict[str, str]) -> None:
    say(f"\n{title}" if title != "Versions" else title)
    width = max(map(len, rows))
    for name, value in rows.items():
        say(f"  {name:<{width}}  {shown(value)}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _show_versions() -> list[str]:
    rows = {
        "p3m-jax": f"{p3m_jax.__version__} in {Path(p3m_jax.__file__).parent}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
    }
    for package, module in PACKAGES.items():
        other = "installed by another package" if importlib.util.find_spec(module) else MISSING
        rows[package] = _version(package) or other
    training = {name: _version(name) for name in TRAINING}
    found = ", ".join(f"{name} {version}" for name, version in training.items() if version)
    lacking = not (training["tensorflow-cpu"] or training["tensorflow"]) or not training["optax"]
    rows["to train"] = found + ('; incomplete: pip install -e ".[train]"' if lacking else "")
    rows["to find faces"] = _face_weights()
    rows["to read HEIC"] = _version("pillow-heif") or 'not installed; pip install -e ".[heif]"'
    _section("Versions", rows)
    missing = [name for name in PACKAGES if rows[name] == MISSING]
    return [f"{', '.join(missing)}: not installed; pip install -e ."] if missing else []


def _face_weights() -> str:
    from p3m_jax.faces.weights import FaceWeightsError, find_weights

    try:
        return ", ".join(name for name in ("yunet", "mesh") if find_weights(name))
    except FaceWeightsError as error:
        return str(error)


def _show_devices() -> list[str]:
    import jax

    from p3m_jax.runtime import large_pages
    from p3m_jax.runtime.accelerators import unused_accelerators
    from p3m_jax.runtime.machine import available_cores, available_memory, machine_memory

    devices = jax.devices()
    rows = {
        "used": f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})",
        "cores": f"{available_cores()} of {os.cpu_count()}",
    }
    statistics = devices[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        rows["memory of one"] = f"{statistics['bytes_limit'] / 1e9:.1f} GB"
    memory = machine_memory()
    if memory:
        rows["memory"] = f"{available_memory() / 1e9:.1f} of {memory / 1e9:.1f} GB"
    rows["large pages"] = large_pages.describe()
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            rows[name] = os.environ[name]
    unused = unused_accelerators(device.platform for device in devices)
    rows["not used"] = ", ".join(finding.kind for finding in unused) or "nothing detected"
    _section("Devices", rows)
    problems = []
    for finding in unused:
        sentence = f"{finding.kind} is present but not used. {finding.reason}"
        if finding.certain:
            problems.append(sentence)
        else:
            say(f"  Note: {shown(sentence)} JAX may not support this one.")
    return problems


def _show_caches() -> None:
    import jax

    # JAX adds its options to this object at run time.
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not jax.config.jax_enable_compilation_cache or not folder:  # type: ignore[attr-defined]
        _section("Caches", {"compiled programs": "not kept"})
        return
    sizes = []
    for path in Path(folder).rglob("*"):
        with contextlib.suppress(OSError):  # another process may delete files meanwhile
            if path.is_file() and not path.name.startswith("."):
                sizes.append(path.stat().st_size)
    files = f"{counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.0f} MB"
    _section("Caches", {"compiled programs": f"{folder}: {files}"})


def _time_forward(path: str | None, size: int) -> list[str]:
    import numpy as np

    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.inference.programs import OutputNotFinite, predictor
    from p3m_jax.models.network import network

    if path:
        checkpoint = load_for_inference(path)
        net, variables = checkpoint.network, checkpoint.variables
        source = str(checkpoint.path)
    else:
        net = network("resnet34")
        variables, source = net.initialize(0), "random, not trained"
    pictures = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.float32)
    predict, seconds = predictor(net, variables), []
    for _ in range(2):
        start = time.perf_counter()
        try:
            predict("fusion", pictures)
        except OutputNotFinite:
            return ["The forward pass is not finite; the weights may be damaged."]
        seconds.append(time.perf_counter() - start)
    _section(
        "One forward pass",
        {
            "network": f"{net.name}, weights: {source}",
            "picture": f"{size} x {size}",
            "first": f"{seconds[0]:.2f} s, including compilation",
            "second": f"{seconds[1]:.2f} s",
        },
    )
    return []
