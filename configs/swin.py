"""P3M-Net with Swin-T (IJCV paper), the published recipe.

    python train.py --config=configs/swin.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps. The authors name two days on
one V100 for P3M-Net; our own time on an accelerator has not been measured. Their papers give no
numbers for Swin-T by itself on P3M-500-P and P3M-500-NP that we could quote here.

Without a data set the same command trains a demonstration on synthetic portraits, and
`--config=configs/swin.py:smoke` a few steps of it.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.variant("swin", variant)
