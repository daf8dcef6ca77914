"""P3M-Net with ViTAE-S (IJCV paper), the published recipe.

    python train.py --config=configs/vitae.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 with the 100 pictures
held out for validation); our own time on an accelerator has not been measured. Published, from a
backbone pretrained on ImageNet: SAD 6.24, MSE 0.0015, CONN 5.86 on P3M-500-P, and 7.59, 0.0019,
6.96 on P3M-500-NP, with random features drawn anew at every start; here they are kept.

Without a data set the same command trains a demonstration on synthetic portraits, and
`--config=configs/vitae.py:smoke` a few steps of it.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.variant("vitae_s", variant)
