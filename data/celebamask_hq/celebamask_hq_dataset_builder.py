"""CelebAMask-HQ as a TFDS builder: the pictures, and the masks of the parts of a face."""

from pathlib import Path

from etils import epath

from p3m_jax.data.celebamask import FACE_PARTS, scan_celebamask
from p3m_jax.data.encoded_builder import EncodedBuilder, subfolder


class Builder(EncodedBuilder):
    """CelebAMask-HQ's faces that have a mask of the skin, as one split."""

    pkg_dir_path = epath.Path(__file__).parent
    HOMEPAGE = "https://github.com/switchablenorms/CelebAMask-HQ"
    LICENSE = "For non-commercial research and education; see the homepage for its agreement."
    ALWAYS = ("picture",)
    PERHAPS = FACE_PARTS
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Get CelebAMask-HQ.zip from https://github.com/switchablenorms/CelebAMask-HQ and unpack it. Then
    set manual_dir to the folder that contains CelebA-HQ-img/ and CelebAMask-HQ-mask-anno/, or move
    it into manual_dir as CelebAMask-HQ/.
    """

    def splits_of(self, folder: Path) -> dict[str, list[tuple[str, dict]]]:
        """Returns all faces with a mask of the skin, as the split "train"."""
        faces, _ = scan_celebamask(subfolder(folder, "CelebAMask-HQ"))
        return {"train": [(f.stem, {"picture": f.picture, **f.parts}) for f in faces]}
