"""A user's own pictures and mattes as a TFDS builder: two folders of files with the same stems."""

import dataclasses
import re
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath

from p3m_jax.data.encoded_builder import EncodedBuilder
from p3m_jax.data.layouts import folder_pair


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """The folders; by default they are pictures/ and mattes/ in manual_dir.

    Attributes:
      pictures, mattes: folders of files with the same stems.
      trimaps, facemasks: optional folders of trimaps and face masks, also with the same stems.
    """

    pictures: str | None = None
    mattes: str | None = None
    trimaps: str | None = None
    facemasks: str | None = None


class Builder(EncodedBuilder):
    """A user's own pictures and mattes, as one split."""

    pkg_dir_path = epath.Path(__file__).parent
    HOMEPAGE = ""
    LICENSE = "The licence of the pictures."
    BUILDER_CONFIGS = (FolderConfig(name="own", description="pictures/ and mattes/"),)
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Put the pictures into manual_dir as pictures/, and mattes with the same stems as mattes/.
    """

    def splits_of(self, folder: Path) -> dict[str, list[tuple[str, dict]]]:
        """Returns all pictures with their mattes, as the split "train"."""
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
    """Turns a folder's name into a configuration name that TFDS accepts."""
    return re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_") or "own"
