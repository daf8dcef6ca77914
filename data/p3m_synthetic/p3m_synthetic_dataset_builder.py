"""This project's synthetic portraits as a TFDS builder, from what `p3m synthesize` wrote."""

from etils import epath

from p3m_jax.data.encoded_builder import LayoutBuilder


class Builder(LayoutBuilder):
    """Portraits that a program drew, in P3M-10k's layout; faces to copy stay in their folder."""

    pkg_dir_path = epath.Path(__file__).parent
    FOLDER_NAME = "p3m_synthetic"
    LICENSE = "MIT"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Draw the portraits with `p3m synthesize -o DIR`, and name DIR as manual_dir, or put it into
    manual_dir as p3m_synthetic/.
    """
