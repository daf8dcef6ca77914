"""The published recipe for P3M-Net with Swin-T (IJCV paper).

    python train.py --config=configs/swin.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 if 100 pictures are
held out for validation). According to the authors, this takes two days on one V100. We have not
measured our own time on an accelerator. `p3m_jax/evaluation/published.py` lists no published scores
of Swin-T. For comparison, the SAD on P3M-500-P is 8.73 for ResNet-34 and 6.24 for ViTAE-S.

Without a data set the same command trains a demonstration on synthetic portraits.
`--config=configs/swin.py:smoke` trains 80 steps on small pictures, from scratch.
"""

from ml_collections import ConfigDict

from p3m_jax.configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the configuration; `variant` is the text after the colon on the command line."""
    return common.variant("swin", variant)
