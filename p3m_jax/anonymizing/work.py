"""Anonymising as the work of a run over a collection: from a picture to its obfuscated copy.

Nothing is passed on that is not sure. A picture without a face, or with a doubtful one, gets no
output but a place on the review list; it is passed on when the user gives a mask for it.
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
from p3m_jax.jobs.given import find_given, find_if_given, require_size
from p3m_jax.jobs.memory import picture_memory
from p3m_jax.jobs.plan import Job
from p3m_jax.jobs.work import NeedsReview
from p3m_jax.pictures.images import ImageError, write_image
from p3m_jax.pictures.labels import read_face_mask, read_matte
from p3m_jax.pictures.photos import digest, in_standard_colours, read
from p3m_jax.storage.files import write_text

# Kinds of outputs; each is a folder.
PICTURE, MATTE, FACEMASK = "blurred_image", "mask", "facemask"  # as P3M-10k calls them
PRIVATE = "keep_private"
RECORD = f"{PRIVATE}/records"
NOT_REVIEWED = "its proposed mask is unchanged: look at it and say --reviewed"


@dataclass
class AnonymizingWork:
    """A `Work` of `p3m_jax.jobs.work`.

    Attributes:
      finder: finds the faces.
      obfuscation: what is done to them.
      review: collects the pictures that need review.
      mattes, masks: folders in the tree and with the names of the pictures. Every picture needs a
        matte. A face mask is used instead of a search; a black one says that there is no face.
      area: what the finder finds of a face, "face" or "head"; for the records.
      no_face_is_fine: pictures in which no face is found are passed on as they are.
      quality: of JPEG and lossy WebP.
      reviewed: the user says that proposed masks which are unchanged were looked at.
      unchanged: gets the pictures that were passed on with nothing obfuscated.
      unchanged_masks: gets the pictures whose given mask is a proposal that is unchanged.
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
        """The files of the matte, and of the face mask if one exists."""
        files = {}
        if self.mattes is not None:
            files["matte"] = find_given(self.mattes, job)
        mask = find_if_given(self.masks, job) if self.masks is not None else None
        if mask is not None:
            self.review.proposals.check(job, mask)
            files["mask"] = mask
        for name, file in files.items():
            if file.samefile(job.source):
                raise ImageError(f"{file}: is the picture itself; name the folder of {name}s.")
        return files

    def memory(self, job: Job, pixels: int) -> int:
        """Bytes that a picture needs while it is worked on."""
        return 2 * picture_memory(pixels, colours=False)

    def load(self, job: Job, given: dict[str, Path]) -> Hidden:
        """The picture with its faces hidden; raises `NeedsReview` if that is not sure."""
        # First of all, so that what is looked at is what is obfuscated and written.
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
        # The user has looked at this very proposal, and says which faces there are.
        reviewed_proposal = mask_is == EDITED or (mask_is == UNCHANGED and self.reviewed)
        areas = find_private_areas(
            picture.pixels, **maps, finder=self.finder, reviewed=reviewed_proposal
        )
        obfuscated = obfuscate(picture.pixels, areas.private, self.obfuscation)
        doubts = doubts_about(
            areas,
            # A face that is still to be seen is the way up that it was.
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
        """Whether the given mask is a proposal, and was edited; None where no mask is given."""
        if "mask" not in maps:
            return None
        mask_is = self.review.proposals.state(job, given["mask"], maps["mask"])
        if mask_is == UNCHANGED:
            self.unchanged_masks.append(job.source)
        return mask_is

    def compute(self, loaded: Hidden) -> Hidden:
        """Returns it: `load` has done all the work."""
        return loaded

    def write(
        self, job: Job, computed: Hidden, files: dict[str, Path]
    ) -> tuple[list[str], dict[str, Any]]:
        """Writes the outputs, the record last; no metadata but a colour profile made here."""
        hidden = computed
        mask = np.where(hidden.areas.labels > 0, np.uint8(255), np.uint8(0))
        values = {
            PICTURE: hidden.obfuscated,
            MATTE: hidden.matte,
            FACEMASK: np.stack([mask] * 3, axis=-1),  # equal channels, as P3M-10k's have
        }
        for kind, file in files.items():
            if kind != RECORD:
                profile = hidden.picture.icc_profile if kind == PICTURE else None
                write_image(file, values[kind], quality=self.quality, icc_profile=profile)
        kind, file = next(iter(files.items()))
        output = file.parents[len(job.outputs[kind].parts) - 1]
        # Of all outputs, also where only some had to be made again.
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
