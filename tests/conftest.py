"""What several test files need: the recorded numbers, and networks with the weights behind them."""

import functools
import gc
import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from running import SOON_COMPILED

GOLDENS = Path(__file__).parent / "goldens"
# Marks of a test that only .ci/release runs.
RELEASE = (pytest.mark.slow, pytest.mark.release)
SHORT = {"resnet34": "r34", "swin": "swin", "vitae_s": "vitae"}


def pytest_configure(config):
    # Commands keep compiled programs in the user's folder unless this says otherwise.
    compiled = config.cache.mkdir("compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
    os.environ.setdefault("XLA_FLAGS", SOON_COMPILED)  # before JAX starts; the user's flags win


@pytest.fixture(scope="session", autouse=True)
def pipelines_soon_built():
    """TensorFlow optimises no graph, which takes longer than the few batches that tests look at.

    The same operations run. Training as a process of its own optimises its pipeline, as for users.
    """
    if "tensorflow" in sys.modules:  # by a test file that uses it
        from p3m_jax.input import tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


# A process goes through many test files, and a training step's program takes gigabytes.
@pytest.fixture(scope="module", autouse=True)
def programs_of_a_file():
    """Are forgotten at its end."""
    yield
    forget_programs()


@pytest.fixture(autouse=True)
def programs_of_a_slow_test(request):
    """Are forgotten at once."""
    yield
    if request.node.get_closest_marker("slow"):
        forget_programs()


def forget_programs():
    if "jax" in sys.modules:
        import jax

        from p3m_jax.inference.programs import programs
        from p3m_jax.runtime.compilation import return_memory

        programs.cache_clear()
        jax.clear_caches()
        gc.collect()
        return_memory()


@functools.cache
def golden_weights():
    """The module that makes the recorded weights and pictures from their names."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDENS / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


@functools.cache
def golden_state_dict(network_name: str) -> dict[str, np.ndarray]:
    """The state dict with which the recorded numbers were made."""
    short = SHORT[network_name]
    shapes = json.loads((GOLDENS / f"state_dict_{short}.json").read_text())
    arrays = golden_weights().state_dict(shapes)
    prefix = "batch_stats/"
    recorded = golden(f"forward_{short}")
    arrays |= {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
    # Their program draws these at its start and saves them nowhere.
    prefix = "performer/"
    arrays |= {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
    return arrays


@functools.cache
def golden_variables(network_name: str):
    from p3m_jax.interchange.state_dict import variables_from_state_dict
    from p3m_jax.models.network import network

    return variables_from_state_dict(network(network_name), golden_state_dict(network_name))


@pytest.fixture(scope="session")
def p3m():
    """Runs `p3m` with these arguments, as a user does; returns the exit code."""
    from p3m_jax.cli import main

    def run(*arguments) -> int:
        try:
            return main([str(argument) for argument in arguments])
        except SystemExit as ended:
            return ended.code

    return run


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real portraits in P3M-10k's layout, which stand beside the project where there are any."""
    folder = Path(__file__).parents[2] / "shared" / "p3m_samples"
    if not folder.is_dir():
        pytest.skip("the sample portraits are not beside the project")
    return folder
