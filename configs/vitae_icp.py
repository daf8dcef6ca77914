"""P3M-Net with ViTAE-S and P3M-ICP (IJCV paper): public faces are pasted onto training pictures.

    python train.py --config=configs/vitae_icp.py --config.data.directory=/data/P3M-10k \\
        --config.copy_paste.source_kind=celebamask_hq \\
        --config.copy_paste.sources=/data/CelebAMask-HQ

All else is `configs/vitae.py`, its variants included. Without a data set the same command trains a
demonstration on synthetic portraits, with the faces that come with them.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.image_copy_paste(common.variant("vitae_s", variant))
