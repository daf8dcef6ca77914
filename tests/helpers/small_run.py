"""A configuration that trains the small network, which compiles quickly.

python train.py --config=tests/helpers/small_run.py:smoke
"""

from small_network import found_by_name

from p3m_jax.configs import common


def get_config(variant=None):
    """Returns the small network's configuration."""
    found_by_name()
    config = common.variant("small", variant)
    config.copy_paste.layers = ("stage2",)
    return config
