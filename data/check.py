"""Checks a data set before a run and reports all its problems at once.

Without `full`, only the headers and the last bytes of the files are read, which reveals wrong
sizes, wrong formats and truncated files. With `full`, every file is decoded.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from p3m_jax.data.layouts import TEST_FOLDERS
from p3m_jax.data.sets import ROLES, DataSet, Example, Scan
from p3m_jax.pictures.images import (
    ImageError,
    largest_pixels,
    open_picture,
    orientation,
    read_picture,
    stored_size,
)
from p3m_jax.pictures.labels import LabelError, read_face_mask, read_matte, read_trimap
from p3m_jax.pictures.left_out import LINE
from p3m_jax.runtime.machine import Budget, available_cores, default_memory
from p3m_jax.storage.file_part import FilePart
from p3m_jax.text import shown

PUBLISHED_COUNTS = {
    "P3M-10k train": 9421,
    "P3M-500-P": 500,
    "P3M-500-NP": 500,
    "RealWorldPortrait-636": 636,
}

_CASES = 10  # number of cases of each kind that the report lists
_COLOR = ("picture", "foreground", "background")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_AT_READING = 10  # bytes of memory per pixel of a decoded file, measured
_TAIL = 4096  # a JPEG may have some bytes after its end mark


@dataclass(frozen=True)
class Report:
    """A check's results.

    Attributes:
      text: the whole report for the user.
      errors, warnings: one string for each kind of problem, which names the first files with it.
    """

    text: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass
class _Findings:
    """Cases by kind. A kind is a string that says what is wrong and how to fix it."""

    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    warnings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, error: bool, kind: str, case: str) -> None:
        (self.errors if error else self.warnings)[kind].append(case)

    def merge(self, other: "_Findings") -> None:
        for mine, theirs in ((self.errors, other.errors), (self.warnings, other.warnings)):
            for kind, cases in theirs.items():
                mine[kind] += cases


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]  # (height, width) as stored
    format: str
    mode: str
    bits: int  # per channel
    orientation: int  # EXIF; 1 is upright
    complete: bool  # the file has its end mark


# Called with a file and a function to which it passes warnings.
_Read = Callable[[Path | FilePart, Callable[[str], None]], object]


def check(
    dataset: DataSet | Scan,
    *,
    published_count: int | None = None,
    workers: int | None = None,
    full: bool = False,
    training: bool | None = None,
    progress: bool = True,
) -> Report:
    """Checks all files of a data set.

    `dataset` may also be a `Scan`: a list of the set's files, some of which may be missing. A file
    that cannot be read is reported as an error; it raises no exception.

    Args:
      published_count: the number of pictures that the set must have. By default it is the published
        number for a set with this name, if there is one.
      workers: the number of threads.
      full: decodes every file; by default only its header and its last bytes are read.
      training: True if the set is for training, False if it is for evaluation. Training reads only
        8-bit JPEG and PNG, stored upright, so other files are errors. Evaluation converts other
        files, so they are only warnings. The default is False for the test sets, True for all
        others.
      progress: shows a bar.
    """
    if training is None:
        training = dataset.name not in TEST_FOLDERS
    if published_count is None and not dataset.synthetic:
        published_count = PUBLISHED_COUNTS.get(dataset.name)
    examples = dataset.examples() if isinstance(dataset, Scan) else dataset.examples
    findings = _Findings()
    if isinstance(dataset, Scan):
        _check_folders(dataset, findings)
    _check_counts(dataset, examples, published_count, findings)

    sizes: list[tuple[int, int]] = []
    formats: Counter[str] = Counter()
    workers = workers or min(16, 4 * available_cores())
    budget = Budget(default_memory(), workers)

    def look(example: Example) -> tuple[_Findings, _Header | None]:
        amount = _AT_READING * largest_pixels(getattr(example, role) for role in ROLES)
        with budget.held(amount if full else 0):
            return _check_example(example, training, full)

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(look, examples)
        bar = tqdm(
            results,
            total=len(examples),
            desc=f"Checking {shown(dataset.name)}",
            unit="picture",
            disable=not progress,
        )
        for found, header in bar:
            findings.merge(found)
            if header:
                sizes.append(header.size)
                formats[header.format] += 1
    return _report(dataset, examples, findings, sizes, formats, full)


def _check_folders(scan: Scan, findings: _Findings) -> None:
    for problem in scan.problems():
        findings.errors[problem] = []
    pictures = scan.files["picture"].keys()
    for role, files in scan.files.items():
        extra = files.keys() - pictures
        if role not in ("picture", "matte") and extra:
            kind = f"{role} files in {scan.folders[role]} belong to no picture"
            findings.warnings[kind] += sorted(files[stem].name for stem in extra)


def _check_counts(
    dataset: DataSet | Scan, examples: Sequence[Example], published: int | None, findings: _Findings
) -> None:
    if not examples:
        kind = (
            f"{dataset.root}: no picture has a matte. A picture and its matte must have the same "
            "name, except for the ending."
        )
        findings.errors[kind] = []
    if published is not None and len(examples) != published:
        kind = f"{len(examples):,} pictures; {dataset.name} was published with {published:,}."
        findings.warnings[kind] = []
    for role in ROLES[2:]:
        without = [example.stem for example in examples if getattr(example, role) is None]
        if 0 < len(without) < len(examples):
            findings.warnings[f"no {role} for some pictures, though others have one"] += without


def _check_example(
    example: Example, training: bool, full: bool
) -> tuple[_Findings, _Header | None]:
    """Returns the findings about a picture and its files, and its header if it has one."""
    findings = _Findings()
    headers = {}
    for role in ROLES:
        path = getattr(example, role)
        if path is not None:
            headers[role] = _check_file(
                path, role, _reader(example, role), training, full, findings
            )
    picture = headers["picture"]
    if picture is None:
        return findings, None
    # Applying the EXIF orientation swaps width and height of a picture stored on its side.
    size = picture.size if training or picture.orientation < 5 else picture.size[::-1]
    for role, header in headers.items():
        if role != "picture" and header and header.size != size:
            kind = f"{role} files have a different size than their picture"
            case = f"{getattr(example, role)}: {_by(header.size)}, the picture {_by(size)}"
            findings.add(True, kind, case)
    return findings, picture


def _reader(example: Example, role: str) -> _Read:
    """Returns the function that reads a file of this role and forwards warnings."""
    if role == "matte":
        return read_matte
    if role == "trimap":
        return lambda path, warn: read_trimap(path)
    if role == "facemask":
        return lambda path, warn: read_face_mask(path, several_channels=example.published)
    return lambda path, warn: read_picture(path)


def _check_file(
    path: Path | FilePart,
    role: str,
    read: _Read,
    training: bool,
    full: bool,
    findings: _Findings,
) -> _Header | None:
    """Returns the file's header, or None if it cannot be read."""
    try:
        header = _read_header(path)
        # The end mark may be missing only because many bytes follow it, so the file is decoded.
        if full or not header.complete:
            read(path, lambda kind: findings.add(False, kind, str(path)))
    except LabelError as error:
        kind = f"{role} files do not hold a valid {role}; fix them"
        findings.add(True, kind, str(error))
        return None
    except ImageError as error:
        findings.add(True, f"{role} files cannot be read; replace them", str(error))
        return None
    if header.format not in ("JPEG", "PNG"):
        kind = "files are neither JPEG nor PNG, the formats that training reads; convert them"
        findings.add(training, kind, f"{path}: {header.format}")
    elif header.mode not in ("1", "L", "LA", "P", "RGB", "RGBA") and header.bits == 8:
        kind = "files have a colour mode that training cannot read; convert them to RGB"
        findings.add(training, kind, f"{path}: {header.mode}")
    if header.bits > 8:
        kind = "files have more than 8 bits per channel, which training cannot read; convert them"
        findings.add(training, kind, f"{path}: {header.bits} bits")
    if role not in _COLOR and header.orientation != 1:
        kind = f"{role} files are stored rotated or mirrored (EXIF); store them upright"
        findings.add(True, kind, f"{path}: orientation {header.orientation}")
    if role == "picture" and header.orientation != 1:
        kind = (
            "pictures are stored rotated or mirrored (EXIF), but training ignores EXIF; "
            "store them upright, for instance with `exiftran -ai` or `mogrify -auto-orient`"
        )
        findings.add(training, kind, f"{path}: orientation {header.orientation}")
    if role not in _COLOR and header.format == "JPEG":
        kind = f"{role} files are JPEG, which changes their values"
        findings.add(role == "trimap", kind, str(path))
    return header


def _read_header(path: Path | FilePart) -> _Header:
    """Reads a file's header and its last bytes; raises `ImageError`."""
    with open_picture(path) as image:
        wide = image.mode.startswith(("I", "F")) or any(";16" in str(t.args) for t in image.tile)
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            end = file.read()
        return _Header(
            size=stored_size(image),
            format=str(image.format),
            mode=image.mode,
            bits=16 if wide else 8,
            orientation=orientation(image),
            complete=_ENDS.get(str(image.format), b"") in end,
        )


def _report(
    dataset: DataSet | Scan,
    examples: Sequence[Example],
    findings: _Findings,
    sizes: list[tuple[int, int]],
    formats: Counter[str],
    full: bool,
) -> Report:
    errors = tuple(_entry(kind, cases) for kind, cases in findings.errors.items())
    warnings = tuple(_entry(kind, cases) for kind, cases in findings.warnings.items())
    lines = [shown(f"{dataset.name}: {dataset.root}")]
    if dataset.synthetic:
        lines.append("  SYNTHETIC portraits drawn by this program")
    files = 0
    for role in ROLES:
        count = sum(getattr(example, role) is not None for example in examples)
        files += count
        note = ""
        if role == "picture" and sizes:
            kinds = ", ".join(f"{count:,} {name}" for name, count in formats.most_common())
            height, width = (int(side) for side in np.median(sizes, axis=0))
            note = f"   {kinds}; median size {_by((height, width))} (height x width)"
        lines.append(f"  {role:<12}{count:>7,}{note}")
    done = "decoded all of" if full else "read the headers and last bytes of"
    hint = "" if full else " (--full decodes them all)"
    lines.append(f"  Checked: {done} {files:,} files{hint}.")
    lines += [f"  {LINE.format(shown(sentence))}" for sentence in dataset.left_out]
    for title, entries in (("Errors", errors), ("Warnings", warnings)):
        if entries:
            lines.append(f"{title}:")
            lines += [f"  {line}" for entry in entries for line in entry.splitlines()]
    if errors:
        verdict = "NOT usable as it is"
    elif warnings:
        verdict = "usable; check the warnings"
    else:
        verdict = "complete and usable"
    lines.append(shown(f"Verdict: {dataset.name} is {verdict}."))
    return Report("\n".join(lines), errors, warnings)


def _entry(kind: str, cases: list[str]) -> str:
    """Formats one kind of finding: its own line, then its first cases."""
    kind = shown(kind)
    if not cases:
        return kind
    more = [f"  ... and {len(cases) - _CASES:,} more"] if len(cases) > _CASES else []
    listed = [f"  {shown(case)}" for case in cases[:_CASES]]
    return "\n".join([f"{kind} ({len(cases):,}):", *listed, *more])


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
