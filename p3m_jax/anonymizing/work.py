"""Makes an obfuscated copy of each picture of a collection, as a `Work` of `p3m_jax.jobs.work`.

Doubtful results are not released. If no face is found in a picture, or a doubtful one, the picture
gets no output and is put on the review list. It gets its output when the user gives a mask for it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from p3m_jax.anonymizing.doubts import doubts_about
from p3m_jax.anonymizing.hidden import Hidden
from p3m_jax.anonymizing.proposals import EDITED, UNCHANGED
from p3m_jax.anonymizing.record import make_record
from p3m_jax.anonymizing.review import ReviewList
from p3m_jax.faces.areas import find_private_areas
from p3m_jax.faces.finding import FaceFinder
from p3m_jax.faces.obfuscation import Obfuscation, obfuscate
from p3m_jax.jobs.given import find_given, find_if_given
from p3m_jax.jobs.memory import picture_memory
from p3m_jax.jobs.plan import Job
from p3m_jax.jobs.work import NeedsReview
from p3m_jax.pictures.images import ImageError, write_image
from p3m_jax.pictures.labels import read_face_mask, read_matte
from p3m_jax.pictures.photos import digest, in_standard_colours, read
from p3m_jax.pictures.sizes import require_size
from p3m_jax.storage.files import write_text

# Kinds of outputs; each is a folder.
PICTURE, MATTE, FACEMASK = "blurred_image", "mask", "facemask"  # P3M-10k's names
PRIVATE = "keep_private"
RECORD = f"{PRIVATE}/records"
ANONYMIZED_KINDS = (PICTURE, MATTE, FACEMASK, RECORD)
NOT_REVIEWED = "its proposed mask is unchanged: review it, then add --reviewed"


@dataclass
class AnonymizingWork:
    """Obfuscates the faces of each picture; a `Work` of `p3m_jax.jobs.work`.

    Attributes:
      finder: finds the faces.
      obfuscation: how faces are obfuscated.
      review: collects the pictures that need review.
      mattes: the folder of mattes, with the subfolders and file names of the pictures, or None. If
        it is given, every picture needs a matte.
      masks: the folder of face masks, with the subfolders and file names of the pictures, or None.
        If a picture has a mask, the mask defines its face areas. A black mask says that the picture
        has no face.
      area: the `area` of `finder`, "face" or "head". It is only noted in the record of each
        picture, see `make_record`.
      no_face_is_fine: whether a picture is released unchanged if no face is found in it.
      quality: quality of JPEG and lossy WebP.
      reviewed: this program proposes masks for review. True if the user confirms that they were
        looked at, even if they are still as proposed.
      done, at_once, needed_once: see `Work`.
      unchanged: collects the pictures that were released with nothing obfuscated.
      unchanged_masks: collects the pictures whose given mask is still as this program proposed it.
    """

    finder: FaceFinder
    obfuscation: Obfuscation
    review: ReviewList
    mattes: Path | None = None
    masks: Path | None = None
    area: str = "face"
    no_face_is_fine: bool = False
    quality: int = 95
    reviewed: bool = False
    done: str = "anonymized"
    at_once: int = 1
    needed_once: tuple[str, ...] = ("mask",)
    unchanged: list[Path] = field(default_factory=list)
    unchanged_masks: list[Path] = field(default_factory=list)

    def given(self, job: Job) -> dict[str, Path]:
        """Returns the files given for a picture: its matte, and its face mask if one exists."""
        files = {}
        if self.mattes is not None:
            files["matte"] = find_given(self.mattes, job)
        mask = find_if_given(self.masks, job) if self.masks is not None else None
        if mask is not None:
            self.review.proposals.check(job, mask)
            files["mask"] = mask
        for name, file in files.items():
            if file.samefile(job.source):
                raise ImageError(f"{file}: is the picture itself; give the folder of {name}s.")
        return files

    def memory(self, job: Job, pixels: int) -> int:
        """Returns the bytes of memory that a picture needs while it is processed."""
        return 2 * picture_memory(pixels)

    def load(self, job: Job, given: dict[str, Path]) -> Hidden:
        """Reads a picture, finds its faces, and obfuscates them in memory.

        Raises:
          NeedsReview: the result is in doubt. The picture is now on the review list.
        """
        # Read once, before everything else, so that the picture searched is the picture written.
        picture, sha256 = in_standard_colours(read(job.source)), digest(job.source)
        size = picture.pixels.shape[:2]
        warnings: list[str] = []
        maps = {}
        if "matte" in given:
            maps["matte"] = read_matte(given["matte"], warnings.append)
        if "mask" in given:
            maps["mask"] = read_face_mask(given["mask"])
        for name, values in maps.items():
            require_size(given[name], values.shape, size)
        mask_is = self._mask_is(job, given, maps)
        # The user has reviewed this proposal, so it decides which faces exist.
        reviewed_proposal = mask_is == EDITED or (mask_is == UNCHANGED and self.reviewed)
        areas = find_private_areas(
            picture.pixels, **maps, finder=self.finder, reviewed=reviewed_proposal
        )
        obfuscated = obfuscate(picture.pixels, areas.private, self.obfuscation)
        doubts = doubts_about(
            areas,
            # A face that remains has the same direction as before, so turned faces are searched for
            # only if there was one.
            self.finder(obfuscated, upright=all(face.upright for face in areas.faces)),
            self.obfuscation,
            mask_given="mask" in maps,
            no_face_is_fine=self.no_face_is_fine,
        )
        if mask_is == UNCHANGED and not reviewed_proposal:
            doubts.append(NOT_REVIEWED)
        if doubts:
            self.review.add(job, picture.pixels, areas.labels, areas.private, doubts, sha256)
            raise NeedsReview(doubts)
        picture = replace(picture, warnings=(*picture.warnings, *warnings))
        return Hidden(picture, sha256, areas, obfuscated, maps.get("matte"), tuple(given), mask_is)

    def _mask_is(self, job: Job, given: dict[str, Path], maps: dict[str, np.ndarray]) -> str | None:
        """Returns the kind of the given mask, see `Proposals.state`; None if no mask is given."""
        if "mask" not in maps:
            return None
        mask_is = self.review.proposals.state(job, given["mask"], maps["mask"])
        if mask_is == UNCHANGED:
            self.unchanged_masks.append(job.source)
        return mask_is

    def compute(self, loaded: Hidden) -> Hidden:
        """Returns `loaded` unchanged, because `load` has already done all the work."""
        return loaded

    def write(
        self, job: Job, computed: Hidden, files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs of a picture, and finally its record, see `make_record`.

        The image files contain no metadata except a colour profile made by this project.

        Returns:
          Warnings, and the picture's notes for the manifest.
        """
        hidden = computed
        mask = np.where(hidden.areas.labels > 0, np.uint8(255), np.uint8(0))
        values = {
            PICTURE: hidden.obfuscated,
            FACEMASK: np.stack([mask] * 3, axis=-1),  # equal channels, as in P3M-10k
        }
        if hidden.matte is not None:
            values[MATTE] = hidden.matte
        for kind, file in files.items():
            if kind != RECORD:
                profile = hidden.picture.icc_profile if kind == PICTURE else None
                write_image(file, values[kind], quality=self.quality, icc_profile=profile)
        kind, file = next(iter(files.items()))
        output = file.parents[len(job.outputs[kind].parts) - 1]
        # The record lists all outputs, even if only some had to be written again.
        written = {kind: output / path for kind, path in job.outputs.items() if kind != RECORD}
        record = make_record(job, hidden, self.obfuscation, self.area, written)
        write_text(output / job.outputs[RECORD], record)
        if not hidden.areas.private.any():
            self.unchanged.append(job.source)
        return list(hidden.picture.warnings), {
            "faces": len(set(np.unique(hidden.areas.labels)) - {0}),
            "size": list(mask.shape[::-1]),
            "below_safe_strength": self.obfuscation.below_safe_strength,
        }
