"""Runs a network to compute the maps from which mattes are made.

In each process, a network is compiled once for each map and input size. New weights need no
recompilation. Only this module runs networks for mattes: prediction, evaluation and validation
share it.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import jax
import numpy as np
from jax.stages import Compiled

from p3m_jax.models.network import Network, Variables
from p3m_jax.runtime.compilation import for_inference, return_memory
from p3m_jax.runtime.machine import Budget

# For each map, the outputs that its program computes. A fusion of logits that are not finite would
# be plain zeros, so its parts are computed, too, and checked.
COMPUTED = {
    "fusion": ("semantic", "detail", "fusion"),
    "semantic": ("semantic",),
    "detail": ("detail",),
}
_COMPILING = 500_000_000  # bytes that compiling a program needs for a while
_LARGE = 10_000_000  # bytes of pictures, in float32


class OutputNotFinite(ValueError):
    """The network's output holds NaN or infinity."""


class Programs:
    """Compiles and runs one network. Threads may share this object.

    A program is the compiled network for one map and one input shape.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._compiled: dict[tuple, Compiled] = {}
        self._compiling = threading.Lock()

    def run(
        self,
        name: str,
        variables: Variables,
        pictures: np.ndarray,
        *,
        budget: Budget | None = None,
    ) -> np.ndarray:
        """Computes one map of the network's outputs, in float32.

        Args:
          name: the map: "semantic" for logits (B, H, W, 3) of background, transition, foreground;
            "detail" or "fusion" for alpha (B, H, W, 1) in [0, 1].
          variables: the weights.
          pictures: (B, H, W, 3), RGB in [0, 255], sides multiples of 32.
          budget: the memory that pictures in progress share. The run waits until enough is free.

        Raises:
          OutputNotFinite: an output is not finite.
          jax.errors.JaxRuntimeError: the network could not run, mostly for lack of memory.
        """
        pictures = np.asarray(pictures, np.float32)
        program = self._program(name, variables, pictures.shape, budget)
        if pictures.nbytes > _LARGE:
            return_memory()  # left over from resizing; 7 ms, little next to the network
        with _held(budget, _memory_of(program)):
            outputs = program(variables, pictures)
            outputs = {output: np.asarray(values) for output, values in outputs.items()}
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise OutputNotFinite("the network's output is not finite; its weights may be damaged.")
        return outputs[name]

    def memory(
        self, name: str, variables: Variables, size: tuple[int, int], budget: Budget | None = None
    ) -> int:
        """Returns the bytes of memory that the network needs to compute a map of one picture.

        The bytes of the picture itself and of the weights are not included. The compiler reports
        the number, so the first call with a size compiles the network.

        Args:
          name: the map, see `run`.
          variables: the weights.
          size: the picture's (height, width).
          budget: the memory that pictures in progress share. Compiling waits until enough is free.
        """
        return _memory_of(self._program(name, variables, (1, *size, 3), budget))

    def _program(
        self, name: str, variables: Variables, shape: tuple[int, ...], budget: Budget | None
    ) -> Compiled:
        array = next(iter(variables.parameters.values()), None)
        device = array.device if isinstance(array, jax.Array) else None
        key = name, shape, device
        if key not in self._compiled:
            with self._compiling, _held(budget, _COMPILING):
                if key not in self._compiled:  # another thread may have compiled it by now
                    self._compiled[key] = self._compile(name, variables, shape)
        return self._compiled[key]

    def _compile(self, name: str, variables: Variables, shape: tuple[int, ...]) -> Compiled:
        network = self._network

        def maps(variables: Variables, pictures: jax.Array) -> dict[str, jax.Array]:
            outputs, _ = network.apply(variables, pictures)
            return {output: getattr(outputs, output) for output in COMPUTED[name]}

        lowered = jax.jit(maps).lower(variables, jax.ShapeDtypeStruct(shape, np.float32))
        options = for_inference(jax.default_backend())
        program = lowered.compile(options)  # type: ignore[arg-type]  # numbers are allowed, too
        return_memory()
        return program


@functools.cache
def programs(network: Network) -> Programs:
    """Returns the compiled programs of a network; all calls in a process return the same object."""
    return Programs(network)


def predictor(network: Network, variables: Variables) -> Callable[[str, np.ndarray], np.ndarray]:
    """Returns a function that runs the network with `variables`, its weights.

    The function accepts the name of a map and pictures, and returns the map, see `Programs.run`.
    `p3m_jax.inference.strategies.matte_picture` needs such a function.
    """
    run = programs(network).run
    return lambda name, pictures: run(name, variables, pictures)


def _memory_of(program: Compiled) -> int:
    memory = program.memory_analysis()
    assert memory is not None  # CPUs, GPUs and TPUs know it
    return memory.temp_size_in_bytes


def _held(budget: Budget | None, amount: int) -> AbstractContextManager[None]:
    return contextlib.nullcontext() if budget is None else budget.held(amount)
