"""P3M-Net with ResNet-34 in its max-pool form (ACM MM paper), the published recipe.

    python train.py --config=configs/resnet34.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 with the 100 pictures
held out for validation); two days on one V100, by the authors. Published, from a backbone
pretrained on ImageNet: SAD 8.73, MSE 0.0026, CONN 13.88 on P3M-500-P, and 11.23, 0.0035, 12.51 on
P3M-500-NP.

Without a data set the same command trains a demonstration on synthetic portraits, and
`--config=configs/resnet34.py:smoke` a few steps of it.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.variant("resnet34", variant)
