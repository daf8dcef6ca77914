"""From the inputs that a user names to the files that will be written, before anything is."""

import os
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from p3m_jax.errors import UserError
from p3m_jax.pictures.formats import endings as endings_read
from p3m_jax.pictures.formats import unread_picture
from p3m_jax.pictures.left_out import LeftOut, is_system_folder

# What commands write, each kind to a folder of its name in the output folder.
MATTING_KINDS = ("alpha", "cutout", "foreground", "background", "composite")
# As P3M-10k calls them, and what their owner keeps.
ANONYMIZED_KINDS = ("blurred_image", "mask", "facemask", "keep_private")
FORMATS = ("png", "webp", "jpg")
MANIFEST = "manifest.jsonl"

_KINDS = MATTING_KINDS + ANONYMIZED_KINDS
_NAMED = 10  # files that an error names


class PlanError(UserError):
    """Inputs and outputs that cannot go together; the message names both and the remedy."""


@dataclass(frozen=True)
class Job:
    """One picture and the outputs to make from it.

    Attributes:
      source: its file.
      name: of its outputs, below a kind's folder and without an ending.
      outputs: by kind, the file to write, relative to the output folder.
      twin: another picture that has the same name without the ending, or None.
      refused: why the file is listed as a failure without being opened, or None.
    """

    source: Path
    name: PurePath
    outputs: dict[str, PurePath]
    twin: Path | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what was found on the way.

    Attributes:
      jobs: in the order in which they are done.
      notes: sentences.
      closed: sentences about folders that cannot be looked into.
      left_out: what the folders hold and is not read; empty if there is nothing.
    """

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    left_out: str = ""


@dataclass
class _Search:
    """What was found in the inputs so far; `pictures` of the input that is being searched."""

    pictures: list[tuple[Path, PurePath]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def make_plan(
    inputs: Iterable, output, endings: Mapping[str, str], *, full_names: bool = False
) -> Plan:
    """Finds the pictures and names their outputs; `endings` gives those of the files by kind.

    A folder's tree is mirrored; what lies in the output folder, is hidden, or was written by this
    command, is left out. A file that is named twice is done once, and one that is named itself is
    tried whatever its ending is. `full_names` keeps the ending of the picture in the name (a.jpg
    becomes a.jpg.png). Pictures of formats that are not read get jobs that fail. These have no
    outputs, so they cannot collide with other pictures.

    Raises:
      PlanError: an input is missing or holds no picture, the output folder is in the way, or two
        pictures would be written to the same place.
    """
    output, search = Path(output), _Search()
    if output.exists() and not output.is_dir():
        raise PlanError(f"{output}: is a file; name a folder for the outputs.")
    found: dict[Path, tuple[Path, PurePath, str | None]] = {}
    for named in map(Path, inputs):
        folder = named.is_dir()
        search.pictures = []
        _find(named, output, endings, search)
        if not search.pictures:
            raise PlanError(_nothing_in(named, search))
        for source, name in search.pictures:
            place = source.parent.resolve() / source.name
            if place in found:
                search.notes.append(f"{source}: named twice, done once")
            refused = unread_picture(source.name) if folder else None
            found.setdefault(place, (source, name, refused))
    jobs, refused_jobs = [], {}
    for source, name, refused in found.values():
        if refused is not None:
            refused_jobs[source] = Job(source, name, {}, refused=f"{source}: {refused}")
            continue
        if not full_names:
            name = name.with_suffix("")
        outputs = {kind: PurePath(kind, f"{name}.{end}") for kind, end in endings.items()}
        jobs.append(Job(source, name, outputs))
    _check_collisions(jobs)
    jobs = _with_twins(jobs)
    for job in jobs:
        for path in job.outputs.values():
            if output / path in found or (output / path).resolve() in found:
                raise PlanError(
                    f"{output / path}: is an input and would be an output; name another folder."
                )
    by_source = {job.source: job for job in jobs} | refused_jobs
    return Plan(
        tuple(by_source[source] for source, _, _ in found.values()),
        tuple(search.notes),
        tuple(search.closed),
        str(search.left_out),
    )


def _nothing_in(named: Path, search: _Search) -> str:
    if search.closed:
        return search.closed[0]
    others = f" but {search.left_out}" if str(search.left_out) else ""
    return f"{named}: holds no pictures ({', '.join(endings_read())}){others}; name another folder."


def is_manifest(name: str) -> bool:
    """Whether a file of this name is a manifest, or a share's part of one."""
    return re.fullmatch(r"manifest(-\d+-of-\d+)?\.jsonl", name) is not None


def check_given(plan: Plan, output, folder: Path, *, kind: str, what: str) -> None:
    """Raises `PlanError` where outputs would come among what is given, files of a `kind`."""
    output, place = Path(output), folder.resolve()
    for written in sorted({written for job in plan.jobs for written in job.outputs}):
        own = (output / written).resolve()
        if place.is_relative_to(own) or (written == kind and own.is_relative_to(place)):
            raise PlanError(
                f"{folder}: the outputs in {output / written} would come among these {what}; name "
                "another output folder."
            )


def _find(named: Path, output: Path, kinds, search: _Search) -> None:
    """Finds the pictures that an input means, with their names relative to it, ending included."""
    if not named.is_dir():
        if not os.path.lexists(named):
            raise PlanError(f"{named}: there is no such file or folder.")
        search.pictures.append((named, PurePath(named.name)))
        return
    own, place = output.resolve(), named.resolve()
    writes = [own] if own == place else []
    if not own.is_relative_to(place):  # else what is in the output folder is left out below
        writes += [own / kind for kind in kinds]
    for folder in writes:
        if folder == place or folder.is_relative_to(place) or place.is_relative_to(folder):
            raise PlanError(
                f"{output}: the outputs would come among the pictures of {named}; name a folder "
                "beside or below it."
            )
    # Folders themselves come first: a link to one must not take its place.
    seen, links = {own}, deque([named])
    while links:
        start = links.popleft()
        if not _enter(start, seen, search):
            continue
        for folder, folders, files in os.walk(start, onerror=lambda error: _close(error, search)):
            below = []
            for path in (Path(folder, name) for name in sorted(folders)):
                if is_system_folder(path.name):
                    search.left_out.folder(path.relative_to(named))
                else:
                    below.append(path)
            if any(map(is_manifest, files)):
                made = [path for path in below if path.name in _KINDS]
                search.notes += [f"{path}: outputs of this command, left out" for path in made]
                below = [path for path in below if path not in made]
            links += [path for path in below if path.is_symlink()]
            if any(path.resolve() == own for path in below) and _has_others(own):
                search.notes.append(
                    f"{output}: the output folder is left out, with pictures of yours"
                )
            folders[:] = [
                path.name
                for path in below
                if not path.is_symlink() and path.resolve() != own and _enter(path, seen, search)
            ]
            for path in (Path(folder, name) for name in sorted(files)):
                _sort(path, PurePath(path.relative_to(named)), search)


def _sort(path: Path, name: PurePath, search: _Search) -> None:
    """Notes a file in a folder as a picture, or as one that is left out."""
    if path.name.startswith("."):
        if _is_picture(path.name.lstrip(".")):
            search.left_out.hidden(name)
    elif _is_picture(path.name):
        search.pictures.append((path, name))
    elif not is_manifest(path.name):
        search.left_out.file(name)


def _enter(folder: Path, seen: set[Path], search: _Search) -> bool:
    """Whether a folder was not visited yet; now it is."""
    real = folder.resolve()
    if real in seen:
        search.notes.append(f"{folder}: leads to a folder that was visited, left out")
        return False
    seen.add(real)
    return True


def _is_picture(name: str) -> bool:
    """Whether a file in a folder is tried, or surely meant to be."""
    return Path(name).suffix.lower() in endings_read() or unread_picture(name) is not None


def _has_others(output: Path) -> bool:
    """Whether an output folder holds pictures beside the outputs."""
    return any(
        _is_picture(file.name) and not file.name.startswith(".")
        for file in output.rglob("*")
        if file.relative_to(output).parts[0] not in _KINDS
    )


def _close(error: OSError, search: _Search) -> None:
    search.closed.append(
        f"{error.filename}: cannot be looked into ({error.strerror}); allow it, or name the others."
    )


def _check_collisions(jobs: list[Job]) -> None:
    """No two outputs in one place, even where capitals and the writing of accents do not count."""
    places: dict[str, Job] = {}
    clashes = []
    for job in jobs:
        for path in job.outputs.values():
            first = places.setdefault(_folded(path), job)
            if first is not job:
                clashes.append(f"{first.source} and {job.source} would both become {path}")
                break
    for job in jobs:  # a file a.png beside a folder a.png
        for path in job.outputs.values():
            for parent in path.parents:
                if _folded(parent) in places:
                    first = places[_folded(parent)]
                    clashes.append(f"{first.source} would become {parent}, a folder of {path}")
    if clashes:
        more = f" (and {len(clashes) - _NAMED} more)" if len(clashes) > _NAMED else ""
        raise PlanError(
            f"{'; '.join(clashes[:_NAMED])}{more}: rename one of them, say --full-names, which "
            "keeps the endings, or give each input folder an output folder of its own."
        )


def _with_twins(jobs: list[Job]) -> list[Job]:
    """Each with another one whose name, in full or without its ending, is its name without."""
    plain = [_folded(job.name.with_name(job.source.stem)) for job in jobs]
    owners: dict[str, set[Path]] = defaultdict(set)
    for job, name in zip(jobs, plain, strict=True):
        owners[name].add(job.source)
        owners[_folded(job.name)].add(job.source)
    others = (owners[name] - {job.source} for job, name in zip(jobs, plain, strict=True))
    return [
        replace(job, twin=min(other, default=None)) for job, other in zip(jobs, others, strict=True)
    ]


def _folded(path: PurePath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
