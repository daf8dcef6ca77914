"""`p3m doctor`, and how it finds accelerators that lie idle."""

import json
import subprocess
import sys

import pytest
from PIL import Image
from running import environment
from small_network import SmallNetwork

from p3m_jax.checkpoints.weights import describe, save_for_inference
from p3m_jax.runtime.accelerators import unused_accelerators

NVIDIA, TPU, AMD = "dev/nvidia0", "dev/accel0", "dev/kfd"
GOOGLE = "sys/bus/pci/devices/0000:00:05.0/vendor"


def findings(tmp_path, traces, used=("cpu",), packages=("jax",), variables=(), vendor="0x1ae0"):
    for trace in [*traces, GOOGLE]:
        path = tmp_path / trace
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / GOOGLE).write_text(f"{vendor}\n")
    found = unused_accelerators(used, root=tmp_path, packages=packages, environment=dict(variables))
    return {finding.kind: finding.reason for finding in found}


def test_a_machine_without_accelerators_lacks_none(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia-caps").mkdir()
    assert findings(tmp_path, []) == {}


@pytest.mark.parametrize(
    ("trace", "vendor", "kinds"),
    [
        ("dev/accel0", "0x1ae0", {"TPU"}),
        ("dev/vfio/0", "0x1ae0", {"TPU"}),
        ("dev/vfio/0", "0x10de", set()),  # somebody's virtual machine
        ("dev/accel/accel0", "0x8086", set()),
        ("dev/accel0", "0x1da3", set()),
        ("dev/dxg", "0x8086", set()),  # under WSL any GPU has it
        ("usr/lib/wsl/lib/libcuda.so.1", "0x8086", {"NVIDIA GPU"}),
        ("proc/driver/nvidia/gpus/0000:01:00.0", "0x10de", {"NVIDIA GPU"}),
        ("dev/kfd", "0x1002", {"AMD GPU"}),
    ],
)
def test_what_a_machine_shows(tmp_path, trace, vendor, kinds):
    assert set(findings(tmp_path, [trace], vendor=vendor)) == kinds


def test_a_variable_hides_its_own_kind_alone(tmp_path):
    hidden = findings(
        tmp_path,
        [NVIDIA, AMD, TPU],
        packages=("jax-cuda13-plugin", "jax-rocm7-plugin", "libtpu"),
        variables={"CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert "CUDA_VISIBLE_DEVICES" in hidden["NVIDIA GPU"]
    assert "driver" in hidden["AMD GPU"]
    assert "driver" in hidden["TPU"]


def test_a_used_accelerator_is_no_finding(tmp_path):
    assert findings(tmp_path, [NVIDIA], used=("gpu",)) == {}
    assert findings(tmp_path, [TPU], used=("tpu",), packages=("libtpu",)) == {
        "NVIDIA GPU": 'JAX\'s package for it is not installed: pip install -e ".[cuda]".'
    }


@pytest.mark.parametrize(
    ("packages", "variables", "expected"),
    [
        (("jax",), {}, "not installed"),
        (("jax-cuda13-plugin",), {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS=cpu keeps"),
        (("jax-cuda13-plugin",), {"JAX_PLATFORM_NAME": "cpu"}, "JAX_PLATFORM_NAME=cpu keeps"),
        (("jax-cuda13-plugin",), {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES hides"),
        (("jax-cuda13-plugin",), {"JAX_PLATFORMS": "cuda,cpu"}, "driver"),
    ],
)
def test_why_a_gpu_is_not_used(tmp_path, packages, variables, expected):
    found = findings(tmp_path, [NVIDIA], packages=packages, variables=variables)
    assert expected in found["NVIDIA GPU"]


# Runs commands one after another, which also know a small network, and prints their exit codes.
PROGRAM = """
import json
import sys

from small_network import found_by_name

from p3m_jax.cli import main


def code(arguments):
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


found_by_name()
print([code(arguments) for arguments in json.loads(sys.argv[1])])
"""


def run(*commands, **variables):
    """The exit codes of `p3m` commands in one process, what it printed, and its errors."""
    asked = json.dumps([[str(argument) for argument in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *printed, codes = done.stdout.splitlines()
    return json.loads(codes), "\n".join(printed), done.stderr


def doctor(*arguments):
    return "doctor", "--size", "64", *arguments


def save(folder, variables):
    save_for_inference(folder, variables, describe("small", synthetic=False, provenance={}))


def test_doctor_times_a_checkpoint_and_keeps_the_program(tmp_path):
    save(tmp_path / "weights", SmallNetwork().initialize(0))
    cache = tmp_path / "compiled"
    asked = doctor("--checkpoint", tmp_path / "weights", "--compilation-cache", cache)
    (code,), printed, error = run(asked)
    assert code == 0, error
    assert str(tmp_path / "weights") in printed
    assert "64 x 64" in printed
    assert "large pages" in printed
    assert f"{cache}: 0 files" in printed
    assert printed.endswith("All is well.")
    assert any(cache.iterdir())


def test_doctor_names_what_is_wrong(tmp_path):
    variables = SmallNetwork().initialize(0)
    variables.parameters["head"][:] = 1e38  # sums of which are infinite
    save(tmp_path / "weights", variables)
    blocked = tmp_path / "file"
    blocked.touch()
    wrong = doctor("--checkpoint", tmp_path / "weights", "--compilation-cache", blocked)
    codes, printed, error = run(wrong, doctor("--checkpoint", tmp_path / "nothing"))
    assert codes == [1, 1]
    assert printed.count("PROBLEM") == 2
    assert "are not cached" in printed
    assert "not finite" in printed
    assert len(error.strip().splitlines()) == 1
    assert "nothing: there is no such checkpoint" in error


def test_without_a_device_there_is_one_sentence(tmp_path):
    save(tmp_path / "weights", SmallNetwork().initialize(0))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    paths = tmp_path / "a.png", "-o", tmp_path / "out", "--checkpoint", tmp_path / "weights"
    codes, printed, error = run(doctor(), ("predict", *paths), JAX_PLATFORMS="cuda")
    if codes[0] == 0:
        pytest.skip("there is a GPU here")
    assert codes == [1, 1]
    assert "PROBLEM: JAX_PLATFORMS=cuda: JAX has no such device here" in printed
    assert "Caches" in printed
    assert "JAX_PLATFORMS=cuda: JAX has no such device here" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
