"""The published recipe for P3M-Net with ViTAE-S (IJCV paper).

    python train.py --config=configs/vitae.py --config.data.directory=/data/P3M-10k

150 epochs of 9,421 pictures in batches of 8 are about 177,000 steps (175,000 if 100 pictures are
held out for validation). We have not measured our own time on an accelerator. The authors published
these results, starting from a backbone pretrained on ImageNet: SAD 6.24, MSE 0.0015 and CONN 5.86
on P3M-500-P; SAD 7.59, MSE 0.0019 and CONN 6.96 on P3M-500-NP. ViTAE's attention uses random
features. The authors' program draws new ones at every start; this project stores them with the
weights.

Without a data set the same command trains a demonstration on synthetic portraits.
`--config=configs/vitae.py:smoke` trains 80 steps on small pictures, from scratch.
"""

from ml_collections import ConfigDict

from p3m_jax.configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Returns the configuration; `variant` is the text after the colon on the command line."""
    return common.variant("vitae_s", variant)
