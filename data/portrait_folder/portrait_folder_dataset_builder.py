"""One's own pictures and mattes as a TFDS builder: two folders with files of equal stems."""

import dataclasses
import re
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath

from p3m_jax.data.encoded_builder import EncodedBuilder
from p3m_jax.data.layouts import folder_pair


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """Which folders; where none are named they are pictures/ and mattes/ in manual_dir.

    Attributes:
      pictures, mattes: folders with files of equal stems.
      trimaps, facemasks: others that belong to them.
    """

    pictures: str | None = None
    mattes: str | None = None
    trimaps: str | None = None
    facemasks: str | None = None


class Builder(EncodedBuilder):
    """One's own pictures and mattes, one split."""

    pkg_dir_path = epath.Path(__file__).parent
    HOMEPAGE = ""
    LICENSE = "That of the pictures."
    BUILDER_CONFIGS = (FolderConfig(name="own", description="pictures/ and mattes/"),)
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Put the pictures into manual_dir as pictures/, and mattes of the same stems as mattes/.
    """

    def splits_of(self, folder: Path) -> dict[str, list[tuple[str, dict]]]:
        """All pictures with their mattes, as "train"."""
        config = self.builder_config
        dataset = folder_pair(
            config.pictures or folder / "pictures",
            config.mattes or folder / "mattes",
            trimaps=config.trimaps,
            facemasks=config.facemasks,
            name=config.name,
        )
        return {"train": self.portraits(dataset)}


def config_name(folder: Path) -> str:
    """The name of a folder as TFDS takes it for a configuration."""
    return re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_") or "own"
