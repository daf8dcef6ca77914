"""P3M-Net with ResNet-34 and P3M-FCP: faces pasted among the features (IJCV paper).

    python train.py --config=configs/resnet34_fcp.py --config.data.directory=/data/P3M-10k

The recipe of `configs/resnet34.py`; from epoch 50 of 150 on half of the examples get the
features of another face. How, and at which layers, is set in `config.copy_paste`, see
`configs/common.py`. The trained network is used as any other.
"""

from p3m_jax.configs import common


def get_config(variant: str | None = None):
    """The configuration; `variant` is what follows the colon on the command line."""
    return common.feature_copy_paste(common.variant("resnet34", variant))
