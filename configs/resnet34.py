"""The published recipe for P3M-Net with ResNet-34 in its max-pool form (ACM MM paper).

    python train.py --config=configs/resnet34.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 if 100 pictures are
held out for validation). According to the authors, this takes two days on one V100. They published
these results, starting from a backbone pretrained on ImageNet: SAD 8.73, MSE 0.0026 and CONN 13.88
on P3M-500-P; SAD 11.23, MSE 0.0035 and CONN 12.51 on P3M-500-NP.

Without a data set the same command trains a demonstration on synthetic portraits.
`--config=configs/resnet34.py:smoke` trains 80 steps on small pictures, from scratch.
"""

from ml_collections import ConfigDict

from p3m_jax.configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the configuration; `variant` is the text after the colon on the command line."""
    return common.variant("resnet34", variant)
