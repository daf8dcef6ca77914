"""The manifest: what was done to which picture, so that the next run can skip it.

`manifest.jsonl` gets a line when a picture's outputs are about to be written ("started"), and
another when they are written ("done"), when the picture needs review first ("waiting", with
`reasons`), or when it could not be done ("failed", with `reason`). The last line of a picture
counts; a line that a killed run left unfinished does not. At the end of a run one line for each
picture is kept.

The status is that of the last attempt. `outputs` says, for each file that was ever written, what it
was made from and with which settings. `writing` names those that were not written to the end.
Pictures that wait were "failed" in older manifests; a run looks at either again.

A share of a collection, one of several processes that write to the same folder, has a file of its
own, `manifest-I-of-N.jsonl`. All files are read; a run over the whole collection makes them one.
"""

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p3m_jax.jobs.plan import MANIFEST, Job, PlanError, is_manifest
from p3m_jax.jobs.share import Share
from p3m_jax.storage.files import locked, remove_leftovers, write_text

STARTED, DONE, WAITING, FAILED = "started", "done", "waiting", "failed"
_OF_THE_ATTEMPT = {"input", "name", "status", "reason", "reasons"}
_NAMED = 5  # files that an error names
Entry = dict[str, Any]


class Manifest:
    """The manifest in an output folder, or a share's; use within `open_manifest`.

    Attributes:
      folder: the output folder.
    """

    def __init__(self, folder: Path, share: Share | None = None):
        self.folder = folder
        self._lock = threading.Lock()
        self._own = folder / (
            f"manifest-{share.index}-of-{share.count}.jsonl" if share else MANIFEST
        )
        # The later written of two files knows better.
        files = filter(lambda file: is_manifest(file.name), folder.iterdir())
        files = sorted(files, key=lambda file: (file.stat().st_mtime, file.name))
        self._parts = [] if share else [file for file in files if file != self._own]
        self._entries = {name: entry for file in files for name, entry in _read(file).items()}
        self._recorded = set(_read(self._own)) if share else self._entries.keys()
        self._file = None

    def entry(self, job: Job) -> Entry:
        """What is known of a job's outputs."""
        return self._entries.get(str(job.name), {"outputs": {}, "writing": []})

    def written(self, job: Job, kind: str) -> Entry | None:
        """How the output of a kind that is there was made; None if it is missing or unfinished."""
        path, entry = job.outputs[kind], self.entry(job)
        file = self.folder / path
        # Losing power may leave an empty file.
        if str(path) in entry["writing"] or not file.is_file() or not file.stat().st_size:
            return None
        return entry["outputs"].get(str(path))

    def check(self, jobs: Iterable[Job], settings: dict[str, dict[str, Any]]) -> None:
        """Raises `PlanError` if there are outputs of `jobs` that these settings did not make.

        Args:
          jobs: what is to be done.
          settings: by kind.
        """
        foreign, others, difference = [], {}, set()
        for job in jobs:
            for kind, path in job.outputs.items():
                if not os.path.lexists(self.folder / path):
                    continue
                known = self.entry(job)["outputs"].get(str(path))
                if known is None:
                    foreign.append(self.folder / path)
                elif known["settings"] != settings[kind]:
                    others[job.name] = job
                    difference |= _difference(known["settings"], settings[kind])
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

    def start(self, job: Job, made: dict[str, Entry]) -> None:
        """Outputs are about to be written; `made` tells by kind how, with their "settings"."""
        before = self.entry(job)
        files = {str(job.outputs[kind]): how for kind, how in made.items()}
        self._record(
            job,
            STARTED,
            outputs={**before["outputs"], **files},
            writing=sorted({*before["writing"], *files}),
        )

    def finish(self, job: Job, kinds: Iterable[str] = (), **values) -> None:
        """The outputs of these kinds are written; `values` are for the reader."""
        files = {str(job.outputs[kind]) for kind in kinds}
        writing = [file for file in self.entry(job)["writing"] if file not in files]
        self._record(job, DONE, writing=writing, **values)

    def wait(self, job: Job, reasons: Iterable[str]) -> None:
        """A picture needs review; its outputs in the manifest stay as they are."""
        self._record(job, WAITING, reasons=list(reasons))

    def fail(self, job: Job, reason: str) -> None:
        """A picture could not be done; its outputs in the manifest stay as they are."""
        self._record(job, FAILED, reason=reason)

    def _record(self, job: Job, status: str, **values) -> None:
        """Appends a line; from any thread."""
        entry = {
            **{"input": str(job.source), "name": str(job.name), "status": status},
            **{k: v for k, v in self.entry(job).items() if k not in _OF_THE_ATTEMPT},
            **values,
        }
        with self._lock:
            if self._file is None:
                self._file = _append_to(self._own)
            self._entries[str(job.name)] = entry
            if isinstance(self._recorded, set):
                self._recorded.add(entry["name"])
            self._file.write(json.dumps(entry).encode() + b"\n")

    def close(self, order: Iterable[Job] = ()) -> None:
        """Leaves one line for each picture: those of the run in its order, after all others."""
        if self._file is None and not self._parts:
            return
        if self._file is not None:
            self._file.close()
            self._file = None
        names = [str(job.name) for job in order]
        current = dict.fromkeys(names)
        names = [name for name in self._entries if name not in current] + names
        lines = [json.dumps(self._entries[name]) for name in names if name in self._recorded]
        write_text(self._own, "".join(f"{line}\n" for line in lines))
        for part in self._parts:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def open_manifest(
    folder: Path, jobs: Iterable[Job], share: Share | None = None
) -> Iterator[Manifest]:
    """The manifest of an output folder, which is made, and which no other process may use now.

    Those that do other shares of the same collection may. Temporary files that a killed run left
    where `jobs` will write are removed, unless another share may be writing them.
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
    refusal = PlanError(
        f"{folder}: another process is writing there; wait for it, or name another folder."
    )
    with locked(folder, refusal, shared=share is not None):
        if share is not None:
            own = folder / f".share-{share.index}-of-{share.count}"
            own.touch()
            with locked(own, refusal):
                yield Manifest(folder, share)
            own.unlink(missing_ok=True)
            return
        for place in {folder, *(folder / p.parent for j in jobs for p in j.outputs.values())}:
            remove_leftovers(place)
        yield Manifest(folder)


def _read(file: Path) -> dict[str, Entry]:
    entries = {}
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return entries
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            entry = json.loads(line)
            outputs = entry["outputs"].values()
            if all(isinstance(how["settings"], dict) for how in outputs) and "writing" in entry:
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
