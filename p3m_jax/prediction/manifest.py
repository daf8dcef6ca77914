"""The manifest: what was done to which picture, and thereby what a next start need not do.

`manifest.jsonl` gets a line when outputs of a picture are about to be written ("started") and
another when they are ("done") or cannot be ("failed"). The last line of a picture counts, and a
line that a killed run left unfinished does not. At the end of a run one line each is kept.
"""

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p3m_jax.files import remove_leftovers, write_text
from p3m_jax.prediction.plan import MANIFEST, Job, PlanError

STARTED, DONE, FAILED = "started", "done", "failed"
_NAMED = 5  # files that an error names
Entry = dict[str, Any]


class Manifest:
    """The manifest in an output folder; use within `open_manifest`.

    Attributes:
      folder: the output folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()
        self._entries = _read(folder / MANIFEST)
        self._file = None

    def entry(self, job: Job) -> Entry | None:
        """What is known of a job's outputs."""
        return self._entries.get(str(job.name))

    def existing(self, job: Job) -> list[str]:
        """The kinds of a job's outputs that are there."""
        return [kind for kind, path in job.outputs.items() if (self.folder / path).is_file()]

    def check(self, jobs: Iterable[Job], settings: dict[str, Any]) -> None:
        """Raises `PlanError` if there are outputs of `jobs` that these settings did not make."""
        foreign, others, difference = [], [], set()
        for job in jobs:
            there = [path for path in job.outputs.values() if os.path.lexists(self.folder / path)]
            if not there:
                continue
            entry = self.entry(job)
            written = set((entry or {}).get("outputs", {}).values())
            strange = [path for path in there if str(path) not in written]
            if strange:
                foreign.append(self.folder / strange[0])
            elif entry["settings"] != settings:
                others.append(job.source)
                difference |= _difference(entry["settings"], settings)
        if foreign:
            raise PlanError(
                f"{_some(foreign)}: there already, and not written from this picture by this "
                "command; name another folder, or say --overwrite to replace them."
            )
        if others:
            raise PlanError(
                f"{self.folder}: {len(others)} of the pictures were done with other settings "
                f"({'; '.join(sorted(difference))}); name another folder, or say --overwrite to do "
                "them again."
            )

    def record(self, job: Job, status: str, **values) -> None:
        """Appends a line; from any thread."""
        entry = {"input": str(job.source), "name": str(job.name), "status": status, **values}
        with self._lock:
            if self._file is None:
                self._file = _append_to(self.folder / MANIFEST)
            self._entries[str(job.name)] = entry
            self._file.write(json.dumps(entry).encode() + b"\n")

    def close(self, order: Iterable[Job] = ()) -> None:
        """Leaves one line for each picture: those of the run in its order, after all others."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        names = [str(job.name) for job in order]
        current = dict.fromkeys(names)
        names = [name for name in self._entries if name not in current] + names
        lines = [json.dumps(self._entries[name]) for name in names if name in self._entries]
        write_text(self.folder / MANIFEST, "".join(f"{line}\n" for line in lines))


@contextlib.contextmanager
def open_manifest(folder: Path, jobs: Iterable[Job]) -> Iterator[Manifest]:
    """The manifest of an output folder, which is made, and which no other process may use now.

    Temporary files that a killed run left where `jobs` will write are removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PlanError(
            f"{folder}: outputs cannot be written there ({error.strerror}); make room, or name "
            "another folder."
        ) from None
    with _locked(folder):
        for place in {folder, *(folder / p.parent for j in jobs for p in j.outputs.values())}:
            remove_leftovers(place)
        yield Manifest(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not a Unix system: nothing guards the folder there
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks does not guard it either
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PlanError(
                    f"{folder}: another process is writing there; wait for it, or name another "
                    "folder."
                ) from None
        yield
    finally:
        os.close(handle)


def _read(file: Path) -> dict[str, Entry]:
    entries = {}
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return entries
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            if isinstance(entry["settings"], dict) and isinstance(entry["outputs"], dict):
                entries[entry["name"]] = entry
    return entries


def _append_to(file: Path):
    handle = file.open("a+b", buffering=0)
    handle.seek(max(handle.tell() - 1, 0))
    if handle.read(1) not in (b"", b"\n"):
        handle.write(b"\n")  # after a line that a killed run left unfinished
    return handle


def _difference(before: dict, now: dict) -> set[str]:
    return {
        f"{name} was {_brief(before.get(name))}, now {_brief(now.get(name))}"
        for name in before.keys() | now.keys()
        if before.get(name) != now.get(name)
    }


def _brief(value) -> str:
    if isinstance(value, dict):  # a checkpoint
        return f"{value.get('network')} {str(value.get('sha256'))[:12]}"
    return json.dumps(value)


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(map(str, paths[:_NAMED])) + more
