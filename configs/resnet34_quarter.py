"""P3M-Net with a ResNet-34 that has a quarter of the channels: this project's own small network.

    python train.py --config=configs/resnet34_quarter.py --config.data.directory=/data/P3M-10k \
        --config.learning_rate=1e-3

No paper has this network, so there are no published results. The recipe is the published one, with
a learning rate for a pretrained backbone. No pretrained backbone of this width exists, so choose a
higher rate, as above. benchmarks/own_network/README.md describes how the project trains this
network on public photos.

Without a data set the same command trains a demonstration on synthetic portraits.
"""

from ml_collections import ConfigDict

from p3m_jax.configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the configuration; `variant` is the text after the colon on the command line."""
    return common.variant("resnet34_quarter", variant)
