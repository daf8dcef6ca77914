"""P3M-10k as a TFDS builder: training set, P3M-500-P and P3M-500-NP, from the unpacked archive."""

from etils import epath

from p3m_jax.data.encoded_builder import LayoutBuilder


class Builder(LayoutBuilder):
    """P3M-10k, in either of its archive forms."""

    pkg_dir_path = epath.Path(__file__).parent
    FOLDER_NAME = "P3M-10k"
    LICENSE = (
        "P3M-10k Dataset Release Agreement (the authors' read-me calls it MIT License): "
        "https://jizhizili.github.io/files/p3m_dataset_agreement/"
        "P3M-10k_Dataset_Release_Agreement.pdf"
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Read the agreement of P3M-10k, get the data set from its authors
    (https://github.com/JizhiziLi/P3M, or the archive of 2024 from
    https://github.com/ViTAE-Transformer/P3M-Net), and unpack it. Then set manual_dir to the folder
    that contains train/ and validation/, or move it into manual_dir as P3M-10k/.
    """
