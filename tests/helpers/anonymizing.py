"""Helpers for tests of anonymising: painted faces and a finder for them, real faces, and runs."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from p3m_jax.anonymizing.review import ReviewList
from p3m_jax.anonymizing.work import FACEMASK, MATTE, PICTURE, RECORD, AnonymizingWork
from p3m_jax.faces import weights
from p3m_jax.faces.detector import Face
from p3m_jax.faces.finding import FoundFace
from p3m_jax.faces.mesh import Landmarks
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.jobs.manifest import open_manifest
from p3m_jax.jobs.plan import make_plan
from p3m_jax.jobs.run import Run
from p3m_jax.pictures.images import write_image

FACES = Path(__file__).parents[3] / "shared" / "faces"
BOX = (20, 10, 24, 30)  # the box of the painted face: left, top, width, height
MARK = b"SECRETMARK"  # written into all metadata, so that tests can search the outputs for it


def _installed() -> bool:
    try:
        return all(weights.find_weights(name) for name in ("yunet", "mesh"))
    except weights.FaceWeightsError:
        return False


real_faces = pytest.mark.skipif(
    not FACES.is_dir() or not _installed(),
    reason="the pictures of faces are not beside the project, or weights are not installed",
)


def real_face(number=0) -> Image.Image:
    """Returns a portrait of 225 x 275 pixels whose face is found with certainty."""
    files = sorted((FACES / "pictures").glob("us_congress_pd__A*.jpg"))
    files += sorted((FACES / "pictures").glob("us_congress_pd__D*.jpg"))
    with Image.open(files[number]) as image:
        return image.convert("RGB")


def inside(height=60, width=80) -> np.ndarray:
    """Returns a mask of the painted face, bool (H, W)."""
    left, top, wide, high = BOX
    where = np.zeros((height, width), bool)
    where[top : top + high + 1, left : left + wide + 1] = True
    return where


def painted(height=60, width=80, seed=0) -> np.ndarray:
    """Returns noise, uint8 (H, W, 3), with blue pixels in `BOX` only: a face for `finder`."""
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    picture[..., 2] = 0
    picture[inside(height, width)] = np.random.default_rng(1).integers(0, 100, (31 * 25, 3))
    picture[12:38:4, 32:42:4] = (0, 0, 255)
    return picture


def one_picture(folder: Path) -> tuple[Path, Path]:
    """Writes a painted picture into a subfolder; returns the folders of inputs and of outputs."""
    write_image(folder / "in/deep/a.png", painted())
    return folder / "in", folder / "out"


def mask_of(where: np.ndarray) -> np.ndarray:
    """Returns a face mask that is white where `where`, bool (H, W), is true."""
    return np.where(where, np.uint8(255), np.uint8(0))


def found(box=BOX, doubts=(), presence=1.0, score=0.95, quarters=0) -> FoundFace:
    """Returns a found face whose face area is `box`; its points make `quarters` quarter turns."""
    left, top, width, height = box
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    polygon = np.array(corners, np.float32) + np.float32((left, top))
    points = np.float32([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
    for _ in range(quarters):
        points = np.stack([1 - points[:, 1], points[:, 0]], axis=1)
    face = Face(box, score, points * np.float32((width, height)) + np.float32((left, top)))
    landmarks = Landmarks(np.zeros((468, 2), np.float32), presence, 0.01)
    return FoundFace(face, landmarks, polygon, tuple(doubts))


def finder(*doubts):
    """Returns a finder that finds a painted face, with these doubts, unless it is obfuscated."""
    return lambda picture: [found(doubts=doubts)] if (picture == (0, 0, 255)).all(-1).any() else []


def anonymize(
    pictures,
    out,
    look=None,
    *,
    asked=None,
    obfuscation=None,
    overwrite=False,
    full_names=False,
    format="png",
    **options,
):
    """Anonymises a folder as the command does; returns the outcome and the work.

    `look` replaces the finder and ignores `upright`; `asked` replaces it and receives `upright`.
    """
    asked = asked or (lambda picture, *, upright=False: (look or finder())(picture))
    endings = {PICTURE: format, FACEMASK: "png", RECORD: "json"}
    endings |= {MATTE: "png"} if "mattes" in options else {}
    jobs = make_plan([pictures], out, endings, full_names=full_names).jobs
    names = {str(job.name) for job in jobs}
    review = ReviewList(out / "keep_private" / "review", names, options.get("masks"))
    work = AnonymizingWork(asked, obfuscation or Obfuscation(), review, **options)
    settings = {kind: {} for kind in endings}
    with open_manifest(out, jobs) as manifest:
        run = Run(manifest, settings, work, memory=10**10, workers=1, overwrite=overwrite)
        outcome = run.start(jobs, progress=False)
        review.close(names)
        manifest.close(jobs)
    return outcome, work


def listed(out) -> dict[str, dict]:
    """Returns the review list as {name of the picture: entry}."""
    lines = (out / "keep_private" / "review" / "review.jsonl").read_text().splitlines()
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def proposals(out) -> Path:
    return out / "keep_private" / "review" / "masks"


def sheets(out) -> list[str]:
    return sorted(path.name for path in (out / "keep_private" / "review").glob("*.jpg"))


def metadata(orientation: int) -> dict[str, bytes]:
    """Returns JPEG metadata for Pillow: EXIF with GPS and thumbnail, XMP, comment, profile."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, MARK.decode()
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[0x1D] = "N", (52.0, 31.0, 12.5), MARK.decode()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = with_private_tag(profile)
    return {
        "exif": _with_thumbnail(exif.tobytes()),
        "icc_profile": profile,
        "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + MARK + b"</x:xmpmeta>",
        "comment": MARK,
    }


def with_private_tag(profile: bytes) -> bytes:
    """Adds a private tag that holds `MARK` to a colour profile."""
    (count,) = struct.unpack_from(">I", profile, 128)
    table, content = profile[132 : 132 + 12 * count], profile[132 + 12 * count :]
    entries = [struct.unpack_from(">4sII", table, 12 * number) for number in range(count)]
    entries = [(tag, start + 12, size) for tag, start, size in entries]
    size = len(profile) + 12 + 8 + len(MARK)
    entries.append((b"SCRT", len(profile) + 12, 8 + len(MARK)))
    table = b"".join(struct.pack(">4sII", *entry) for entry in entries)
    head = struct.pack(">I", size) + profile[4:128] + struct.pack(">I", count + 1)
    return head + table + content + b"data\0\0\0\0" + MARK


def _with_thumbnail(exif: bytes) -> bytes:
    """Adds a second directory to EXIF data, with a JPEG whose comment is `MARK`."""
    thumbnail = io.BytesIO()
    Image.fromarray(painted()).save(thumbnail, "JPEG", comment=MARK)
    data = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    struct.pack_into(order + "I", data, first + 2 + 12 * count, len(data))
    start, size = len(data) + 2 + 2 * 12 + 4, len(thumbnail.getvalue())
    data += struct.pack(order + "H", 2)
    data += struct.pack(order + "HHII", 0x0201, 4, 1, start)
    data += struct.pack(order + "HHII", 0x0202, 4, 1, size)
    return b"Exif\0\0" + bytes(data) + struct.pack(order + "I", 0) + thumbnail.getvalue()
