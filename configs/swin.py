"""P3M-Net with Swin-T (IJCV paper), the published recipe.

    python train.py --config=configs/swin.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 with the 100 pictures
held out for validation). The authors name two days on one V100; our own time on an accelerator has
not been measured. Among the published scores that `p3m_jax/evaluation/published.py` lists, Swin-T
has none; ResNet-34 has SAD 8.73 on P3M-500-P and ViTAE-S 6.24.

Without a data set the same command trains a demonstration on synthetic portraits, and
`--config=configs/swin.py:smoke` a few steps of it.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.variant("swin", variant)
