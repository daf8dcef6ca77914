"""The networks by name, as pure functions over flat dictionaries of arrays.

Modules are Flax NNX; what leaves this file is not. Parameters and statistics are plain
dictionaries from dotted names ("encoder.stages.0.1.norm1.scale") to arrays, which is what the
optimiser, checkpoints, imports and tests see.
"""

import functools
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from p3m_jax.models.decoders import Edit, unedited
from p3m_jax.models.p3m_net import Outputs, P3MNet, normalize
from p3m_jax.models.resnet import ResNet34
from p3m_jax.models.swin import SwinT
from p3m_jax.models.vitae import ViTAES

ENCODERS = {"resnet34": ResNet34, "swin": SwinT, "vitae_s": ViTAES}

Arrays = Mapping[str, jax.Array]


class Variables(NamedTuple):
    """A network's numbers: `parameters` are learned, `statistics` are everything else it keeps."""

    parameters: Arrays
    statistics: Arrays


class Network:
    """One of the P3M-Nets, without its numbers.

    Args:
      name: of its encoder, "resnet34", "swin" or "vitae_s".
    """

    def __init__(self, name: str):
        self.name = name
        self._definition, parameters, statistics = nnx.eval_shape(
            lambda: nnx.split(P3MNet(ENCODERS[name]()), nnx.Param, ...)
        )
        self._variables = {
            ".".join(map(str, path)): (path, variable)
            for state in (parameters, statistics)
            for path, variable in nnx.to_flat_state(state)
        }
        self.shapes = Variables(_flatten(parameters), _flatten(statistics))

    def initialize(self, seed: int) -> Variables:
        """Fresh parameters and statistics, as NumPy arrays.

        Each array is drawn from a stream of its own, named by (seed, its name): the same seed
        gives the same numbers, and a network that gains a layer keeps the others'.
        """

        def draw(name, shape):
            stream = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
            initializer = self._variables[name][1].get_metadata()["initializer"]
            return initializer(np.random.default_rng(stream), shape.shape)

        return Variables(
            *({name: draw(name, shape) for name, shape in arrays.items()} for arrays in self.shapes)
        )

    def apply(
        self,
        variables: Variables,
        pictures: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        edit: Edit = unedited,
        dtype: jax.typing.DTypeLike | None = None,
        remat: bool = False,
    ) -> tuple[Outputs, Arrays]:
        """Runs the network on pictures (B, H, W, 3) of RGB in [0, 255], sides multiples of 32.

        Returns its outputs and the statistics, which move only while training. `key` draws the
        stochastic depth; without it every branch is kept. `edit` may change the features of each
        of the `layers`, see `p3m_jax.models.decoders.Edit`. Computes in the parameters' precision,
        or maps in `dtype` (bfloat16); norms, softmaxes, statistics and outputs stay in float32 at
        least. With `remat` a gradient computes the encoder's stages again.
        """
        model, own = self._model(variables)
        pictures = normalize(pictures, own).astype(dtype or own)
        outputs = model(pictures, train=train, key=key, edit=edit, remat=remat)
        _, _, statistics = nnx.split(model, nnx.Param, ...)
        return outputs, _flatten(statistics)

    @property
    def layers(self) -> tuple[str, ...]:
        """The encoder's layers that have a name, in their order; none if it calls no `Edit`."""
        return getattr(ENCODERS[self.name], "edited_layers", ())

    def features(
        self,
        variables: Variables,
        pictures: jax.Array,
        layers: Iterable[str],
        *,
        dtype: jax.typing.DTypeLike | None = None,
    ) -> dict[str, jax.Array]:
        """The features {layer: (B, H / stride, W / stride, C)} of some `layers` for pictures.

        Pictures and `dtype` are as in `apply`. Runs in evaluation mode: the running statistics
        normalise and stay as they are, and no branch is dropped. Compiled, it costs the layers up
        to the last one asked for: what lies behind them is traced, but nothing uses it.
        """
        found: dict[str, jax.Array] = {}

        def keep(layer, features):
            found[layer] = features
            return features

        model, own = self._model(variables)
        model.encoder(normalize(pictures, own).astype(dtype or own), train=False, edit=keep)
        return {layer: found[layer] for layer in layers}

    def _model(self, variables: Variables) -> tuple[P3MNet, np.dtype]:
        """The module with its numbers, and the precision it computes in."""
        model = nnx.merge(
            self._definition,
            self._unflatten(variables.parameters),
            self._unflatten(variables.statistics),
        )
        return model, next(iter(variables.parameters.values())).dtype

    def _unflatten(self, arrays: Arrays) -> nnx.State:
        return nnx.from_flat_state(
            [(self._variables[name][0], array) for name, array in arrays.items()]
        )


def _flatten(state: nnx.State) -> dict[str, jax.Array]:
    flat = {}
    for path, variable in nnx.to_flat_state(state):
        value = variable.get_value() if isinstance(variable, nnx.Variable) else variable
        flat[".".join(map(str, path))] = value
    return flat


# What can be trained and loaded, by the names that configurations and checkpoints hold.
NETWORKS: dict[str, Callable[[], Network]] = {
    name: functools.partial(Network, name) for name in ENCODERS
}


@functools.cache
def network(name: str) -> Network:
    """The network of that name in `NETWORKS`.

    Raises:
      ValueError: there is no such network.
    """
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}; choose from {', '.join(NETWORKS)}.")
    return NETWORKS[name]()
