"""This project's synthetic portraits as a TFDS builder, from the output of `p3m synthesize`."""

from etils import epath

from p3m_jax.data.encoded_builder import LayoutBuilder


class Builder(LayoutBuilder):
    """Portraits drawn by a program, in P3M-10k's layout, without the faces that P3M-CP copies."""

    pkg_dir_path = epath.Path(__file__).parent
    FOLDER_NAME = "p3m_synthetic"
    LICENSE = "MIT"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Draw the portraits with `p3m synthesize -o DIR`. Then set manual_dir to DIR, or move DIR into
    manual_dir as p3m_synthetic/.
    """
