"""The networks by name, as pure functions over flat dictionaries of arrays.

The modules are Flax NNX, but no NNX object leaves this file. Parameters and statistics are plain
dictionaries from dotted names ("encoder.stages.0.1.norm1.scale") to arrays. All other code, such as
the optimiser and the checkpoints, sees only these dictionaries.
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
from p3m_jax.models.resnet import QuarterResNet34, ResNet34
from p3m_jax.models.swin import SwinT
from p3m_jax.models.vitae import ViTAES

ENCODERS: dict[str, type[ResNet34 | SwinT | ViTAES]] = {
    "resnet34": ResNet34,
    "swin": SwinT,
    "vitae_s": ViTAES,
    "resnet34_quarter": QuarterResNet34,
}

Arrays = Mapping[str, jax.Array]


class Variables(NamedTuple):
    """A network's arrays: `parameters` are learned, `statistics` are all other state."""

    parameters: Arrays
    statistics: Arrays


class Network:
    """One of the P3M-Nets, without its weights.

    Args:
      name: the encoder's name in `ENCODERS`.

    Attributes:
      shapes: `Variables` with the shapes and dtypes of all arrays (`jax.ShapeDtypeStruct`).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._definition, *states = nnx.eval_shape(
            lambda: nnx.split(P3MNet(ENCODERS[name]()), nnx.Param, ...)
        )
        parameters, statistics = states
        self._variables = {
            ".".join(map(str, path)): (path, variable)
            for state in (parameters, statistics)
            for path, variable in nnx.to_flat_state(state)
        }
        self.shapes = Variables(_flatten(parameters), _flatten(statistics))

    def initialize(self, seed: int) -> Variables:
        """Draws new parameters and statistics, as NumPy arrays.

        Each array has its own random stream, which is seeded by `seed` and the array's name. So the
        same seed gives the same values, and adding a layer to a network does not change the other
        layers.
        """

        def draw(name: str, shape: jax.ShapeDtypeStruct) -> np.ndarray:
            stream = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
            initializer = self._variables[name][1].get_metadata()["initializer"]
            return initializer(np.random.default_rng(stream), shape.shape)

        return Variables(
            # JAX accepts NumPy arrays wherever it takes its own.
            *({name: draw(name, shape) for name, shape in arrays.items()} for arrays in self.shapes)  # type: ignore[arg-type]
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
        """Runs the network on pictures.

        Args:
          variables: the parameters and statistics.
          pictures: RGB in [0, 255], (B, H, W, 3), sides multiples of 32.
          train: whether norms use the statistics of the batch, and update the running statistics.
          key: draws the stochastic depth in training. None keeps every branch.
          edit: may change the features at each of the `layers`, see `p3m_jax.models.decoders.Edit`.
          dtype: the precision of the maps, such as bfloat16. None is the precision of the
            parameters. Norms, softmaxes, statistics and outputs stay in float32 or higher.
          remat: whether the gradient recomputes the encoder's stages, which saves memory.

        Returns:
          The network's outputs and the statistics, which change only in training.
        """
        model, own = self._model(variables)
        pictures = normalize(pictures, own).astype(dtype or own)
        outputs = model(pictures, train=train, key=key, edit=edit, remat=remat)
        _, *states = nnx.split(model, nnx.Param, ...)
        return outputs, _flatten(states[-1])

    @property
    def layers(self) -> tuple[str, ...]:
        """The encoder layers that `features` can return and `apply` can edit, first to last."""
        return getattr(ENCODERS[self.name], "edited_layers", ())

    def features(
        self,
        variables: Variables,
        pictures: jax.Array,
        layers: Iterable[str],
        *,
        dtype: jax.typing.DTypeLike | None = None,
    ) -> dict[str, jax.Array]:
        """Computes the encoder's features at some of its `layers`.

        Pictures and `dtype` are as in `apply`. The network runs in evaluation mode: norms use the
        running statistics and do not update them, and no branch is dropped.

        If the call is compiled, the layers after the last requested one take no time to run. They
        are traced, but the compiler removes them because nothing uses their results.

        Returns:
          {layer: (B, H / stride, W / stride, C)}, with the strides in
          `p3m_jax.models.decoders.STRIDES`.
        """
        found: dict[str, jax.Array] = {}

        def keep(layer: str, features: jax.Array) -> jax.Array:
            found[layer] = features
            return features

        model, own = self._model(variables)
        model.encoder(normalize(pictures, own).astype(dtype or own), train=False, edit=keep)
        return {layer: found[layer] for layer in layers}

    def _model(self, variables: Variables) -> tuple[P3MNet, np.dtype]:
        """Returns the module with its arrays, and the dtype of its parameters."""
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


# The networks that can be trained and loaded, by their names in configurations and checkpoints.
NETWORKS: dict[str, Callable[[], Network]] = {
    name: functools.partial(Network, name) for name in ENCODERS
}


@functools.cache
def network(name: str) -> Network:
    """Returns the network with that name in `NETWORKS`.

    Raises:
      ValueError: no network has this name.
    """
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}; choose from {', '.join(NETWORKS)}.")
    return NETWORKS[name]()
