"""Plans a run: finds the pictures in the user's inputs and chooses the output files."""

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
from p3m_jax.storage import StrPath
from p3m_jax.storage.paths import output_folder, overlap, user_path

FORMATS = ("png", "webp", "jpg")
MANIFEST = "manifest.jsonl"

_NAMED = 10  # how many files an error names


class PlanError(UserError):
    """The inputs or outputs of a run cannot be used as planned; the message names the remedy."""


@dataclass(frozen=True)
class Job:
    """One picture and the outputs to make from it.

    Attributes:
      source: the picture's file.
      name: the path of the picture relative to the input folder, without the ending: sub/a. With
        option `--full-names`, the ending is kept: sub/a.jpg. Each output has this name in the
        folder for its kind, such as alpha/sub/a.png.
      outputs: {kind of output: the file to write, relative to the output folder}.
      twin: another picture whose name differs only in the ending (a.jpg and a.webp), or None.
      refused: why the picture is reported as failed without being opened; None if it is processed.
    """

    source: Path
    name: PurePath
    outputs: dict[str, PurePath]
    twin: Path | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, and remarks about its inputs.

    Attributes:
      jobs: the jobs, in the order in which they are done.
      notes: remarks for the user.
      closed: a sentence for each folder that could not be searched.
      left_out: a summary of the files found that are not processed; empty if there are none.
    """

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    left_out: str = ""


@dataclass
class _Search:
    """The results of searching the inputs so far.

    `pictures` holds only the pictures of the current input. `own` holds the names of the folders
    that commands write next to a manifest.
    """

    own: frozenset[str]
    pictures: list[tuple[Path, PurePath]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def make_plan(
    inputs: Iterable[StrPath],
    output: StrPath,
    endings: Mapping[str, str],
    *,
    full_names: bool = False,
    written: Iterable[str] = (),
) -> Plan:
    """Finds the pictures in the inputs and chooses their output files.

    Folders are searched with their subfolders, which are mirrored in the output. The search leaves
    out hidden files, files in the output folder, and outputs of earlier runs. A file that is found
    twice is processed once.

    A file in `inputs` is always processed, whatever its ending is. A file in a folder is processed
    if it has the ending of a picture format. If this program does not support the format, the file
    is reported as failed, and its job has no outputs.

    Args:
      inputs: files and folders.
      output: the output folder.
      endings: {kind of output: the ending of its files}. Each kind has its own folder in `output`.
      full_names: whether output names keep the ending of the picture (a.jpg becomes a.jpg.png).
      written: kinds of output that other commands write. A folder with the name of such a
        kind, or of a kind in `endings`, is not searched if it is next to a manifest.

    Raises:
      PlanError: an input does not exist or contains no pictures, an output would be written among
        the inputs, or two outputs would have the same path.
    """
    output = output_folder(output, "choose a folder for the outputs with -o")
    search = _Search(frozenset(PurePath(kind).parts[0] for kind in (*endings, *written)))
    found: dict[Path, tuple[Path, PurePath, str | None]] = {}
    for named in map(user_path, inputs):
        folder = named.is_dir()
        search.pictures = []
        _find(named, output, endings, search)
        if not search.pictures:
            raise PlanError(_nothing_in(named, search))
        for source, name in search.pictures:
            place = source.parent.resolve() / source.name
            if place in found:
                search.notes.append(f"{source}: named twice, processed once")
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
                    f"{output / path}: is an input and would be replaced by an output; choose "
                    "another folder with -o."
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
    return (
        f"{named}: holds no pictures ({', '.join(endings_read())}){others}; choose another folder."
    )


def is_manifest(name: str) -> bool:
    """Whether a file name is that of a manifest: manifest.jsonl or manifest-I-of-N.jsonl."""
    return re.fullmatch(r"manifest(-\d+-of-\d+)?\.jsonl", name) is not None


def check_given(plan: Plan, output: StrPath, folder: Path, *, kind: str, what: str) -> None:
    """Checks that no outputs would be mixed with the user's own files, such as mattes.

    Args:
      plan: the plan with the outputs.
      output: the output folder.
      folder: the folder of the user's own files.
      kind: the kind of output that looks like the user's files, such as "alpha" for mattes. It must
        not be written inside `folder`.
      what: what the message calls the user's files ("mattes").

    Raises:
      PlanError: the folder for a kind of output contains `folder`, or outputs of `kind` would be
        written inside `folder`.
    """
    output, place = Path(output), folder.resolve()
    for written in sorted({written for job in plan.jobs for written in job.outputs}):
        own = (output / written).resolve()
        if place.is_relative_to(own) or (written == kind and own.is_relative_to(place)):
            raise PlanError(
                f"{folder}: the outputs in {output / written} would be mixed with these {what}; "
                "choose another folder with -o."
            )


def _find(named: Path, output: Path, kinds: Iterable[str], search: _Search) -> None:
    """Finds the pictures of the input `named`; their names are relative to it, with the ending."""
    if not named.is_dir():
        if not os.path.lexists(named):
            raise PlanError(f"{named}: there is no such file or folder.")
        search.pictures.append((named, PurePath(named.name)))
        return
    own, place = output.resolve(), named.resolve()
    writes = [own] if own == place else []
    if not own.is_relative_to(place):  # otherwise the output folder is left out below
        writes += [own / kind for kind in kinds]
    for written in writes:
        if overlap(written, place):
            raise PlanError(
                f"{output}: the outputs would be mixed with the pictures of {named}; choose a "
                "folder next to it or inside it with -o."
            )
    # Real folders are searched before links, so that each is found under its own path.
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
                made = [path for path in below if path.name in search.own]
                search.notes += [f"{path}: outputs of this command, skipped" for path in made]
                below = [path for path in below if path not in made]
            links += [path for path in below if path.is_symlink()]
            if any(path.resolve() == own for path in below) and _has_others(own, search):
                search.notes.append(
                    f"{output}: the output folder is not searched, though it holds other pictures"
                )
            folders[:] = [
                path.name
                for path in below
                if not path.is_symlink() and path.resolve() != own and _enter(path, seen, search)
            ]
            for path in (Path(folder, name) for name in sorted(files)):
                _sort(path, PurePath(path.relative_to(named)), search)


def _sort(path: Path, name: PurePath, search: _Search) -> None:
    """Adds a file in a folder to the pictures, or to the files that are left out."""
    if path.name.startswith("."):
        if _is_picture(path.name.lstrip(".")):
            search.left_out.hidden(name)
    elif _is_picture(path.name):
        search.pictures.append((path, name))
    elif not is_manifest(path.name):
        search.left_out.file(name)


def _enter(folder: Path, seen: set[Path], search: _Search) -> bool:
    """Whether a folder has not been visited yet; marks it as visited."""
    real = folder.resolve()
    if real in seen:
        search.notes.append(f"{folder}: leads to a folder that was already searched, skipped")
        return False
    seen.add(real)
    return True


def _is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture, in a supported or an unsupported format."""
    return Path(name).suffix.lower() in endings_read() or unread_picture(name) is not None


def _has_others(output: Path, search: _Search) -> bool:
    """Whether an output folder holds pictures other than outputs."""
    return any(
        _is_picture(file.name) and not file.name.startswith(".")
        for file in output.rglob("*")
        if file.relative_to(output).parts[0] not in search.own
    )


def _close(error: OSError, search: _Search) -> None:
    search.closed.append(
        f"{error.filename}: cannot be searched ({error.strerror}); change its permissions, or name "
        "the other folders instead."
    )


def _check_collisions(jobs: list[Job]) -> None:
    """Raises `PlanError` if two outputs would have the same path.

    Paths that differ only in capital letters or in the encoding of accents count as the same.
    """
    places: dict[str, Job] = {}
    clashes = []
    for job in jobs:
        for path in job.outputs.values():
            first = places.setdefault(_folded(path), job)
            if first is not job:
                clashes.append(f"{first.source} and {job.source} would both become {path}")
                break
    for job in jobs:  # finds a file a.png and a folder a.png in the same place
        for path in job.outputs.values():
            for parent in path.parents:
                if _folded(parent) in places:
                    first = places[_folded(parent)]
                    clashes.append(f"{first.source} would become {parent}, a folder of {path}")
    if clashes:
        more = f" (and {len(clashes) - _NAMED} more)" if len(clashes) > _NAMED else ""
        raise PlanError(
            f"{'; '.join(clashes[:_NAMED])}{more}: rename one of them, use --full-names to keep "
            "the endings, or use a separate output folder for each input folder."
        )


def _with_twins(jobs: list[Job]) -> list[Job]:
    """Sets `twin` of each job.

    It is another picture whose full name, or whose name without the ending, equals this picture's
    name without the ending.
    """
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
