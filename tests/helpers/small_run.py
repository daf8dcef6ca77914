"""A configuration that trains the small network: what a run does, without minutes of compiling.

    python train.py --config=tests/helpers/small_run.py:smoke

`fcp` before the variant adds P3M-FCP, as in "fcp,smoke".
"""

from small_network import found_by_name

from p3m_jax.configs import common


def get_config(variant=None):
    """The configuration `variant` of ResNet-34's, with the small network in its place."""
    found_by_name()
    first, _, rest = (variant or "").partition(",")
    if first == "fcp":
        config = common.feature_copy_paste(common.variant("resnet34", rest))
        config.copy_paste.layers = ("stage2",)
    else:
        config = common.variant("resnet34", variant)
    config.network = "small"
    return config
