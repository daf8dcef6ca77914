"""A network of few operations, for tests of training steps and runs that suit any network.

It has the interface of `p3m_jax.models.network.Network`, and compiles quickly; P3M-Net's step takes
a minute. Call `found_by_name` to make it available by its name; processes that train do so through
the configuration `tests/helpers/small_run.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from p3m_jax.models.decoders import unedited
from p3m_jax.models.layers import normalize_batch
from p3m_jax.models.network import NETWORKS, Variables
from p3m_jax.models.p3m_net import Outputs, fuse, normalize

WIDTH = 512  # the second kernel has most of the weights, and is large enough to be split
STRIDE = 8


class SmallNetwork:
    """Two convolutions with a batch normalisation between them, and a head of all outputs.

    Its layer "stage2" follows the first convolution, and has the stride of P3M-Net's "stage2".
    """

    name = "small"
    layers = ("stage2",)

    def initialize(self, seed):
        rng = np.random.default_rng(seed)
        draw = lambda *shape: np.float32(0.1 * rng.standard_normal(shape))  # noqa: E731
        parameters = {
            "first": draw(STRIDE, STRIDE, 3, WIDTH),
            "scale": np.ones(WIDTH, np.float32),
            "bias": np.zeros(WIDTH, np.float32),
            "second": draw(1, 1, WIDTH, WIDTH),
            "head": draw(1, 1, WIDTH, 13),
        }
        return Variables(parameters, {"mean": np.zeros(WIDTH, np.float32)})

    @property
    def shapes(self):
        return jax.eval_shape(lambda: self.initialize(0))

    def features(self, variables, pictures, layers, *, dtype=None):
        values, statistics = variables
        x = convolved(normalize(pictures, values["first"].dtype), values["first"], STRIDE)
        x = (x - statistics["mean"]) * values["scale"] + values["bias"]
        return dict.fromkeys(layers, jax.nn.relu(x))

    def apply(
        self, variables, pictures, *, train=False, key=None, edit=unedited, dtype=None, remat=False
    ):
        values, statistics = variables
        x = convolved(normalize(pictures, values["first"].dtype), values["first"], STRIDE)
        x, mean, _ = normalize_batch(x, values["scale"], values["bias"])
        x = edit("stage2", jax.nn.relu(x))
        x = convolved(x, values["second"])
        maps = convolved(jax.nn.relu(x), values["head"])
        maps = maps.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)
        semantic, side2, side1, side0, detail = jnp.split(maps, (3, 6, 9, 12), axis=-1)
        detail = jax.nn.sigmoid(detail)
        outputs = Outputs(semantic, detail, fuse(semantic, detail), side2, side1, side0)
        return outputs, {"mean": 0.9 * statistics["mean"] + 0.1 * mean}


def convolved(x, kernel, stride=1):
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=layout)


def found_by_name():
    """Adds the network to `NETWORKS`, so that the program finds it by the name "small"."""
    NETWORKS["small"] = SmallNetwork
