"""Keeps a manifest: a list of the pictures already processed, so that the next run skips them.

The manifest is the file `manifest.jsonl` in the output folder. Before a run writes a picture's
outputs, it appends a line with the status "started". When the picture is finished, it appends a
line with the result:

- "done": the outputs are written.
- "waiting": the picture needs review first; `reasons` says why.
- "failed": the picture could not be processed; `reason` says why. Older versions also wrote this
  status for pictures that need review.

The next run tries the pictures that are "waiting" or "failed" again. Only the last line of each
picture counts, and an incomplete line of a killed run is ignored. At the end of a run, the manifest
is rewritten with one line per picture.

In a line, `outputs` maps each output file of the picture to its inputs and settings. Files that
earlier runs made are included. `writing` lists files that may be incomplete.

Several processes may write to the same folder. Each then processes a share of the collection, and
has its own file, `manifest-I-of-N.jsonl`. Every run reads all of these files. A run over the whole
collection merges them into one.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p3m_jax.jobs.plan import MANIFEST, Job, PlanError, is_manifest
from p3m_jax.jobs.share import Share
from p3m_jax.storage.files import is_written, locked, remove_leftovers, require_writable
from p3m_jax.storage.json_lines import LineWriter, read_lines, write_lines

STARTED, DONE, WAITING, FAILED = "started", "done", "waiting", "failed"
_OF_THE_ATTEMPT = {"input", "name", "status", "reason", "reasons"}
_NAMED = 5  # how many files an error names
Entry = dict[str, Any]


class Manifest:
    """The manifest of a run that processes a collection or one share of it.

    Use `open_manifest` to create it.

    Attributes:
      folder: the output folder.
    """

    def __init__(self, folder: Path, share: Share | None = None) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._own = folder / (
            f"manifest-{share.index}-of-{share.count}.jsonl" if share else MANIFEST
        )
        # If two files have an entry for the same picture, the later file's is used.
        found = filter(lambda file: is_manifest(file.name), folder.iterdir())
        files = sorted(found, key=lambda file: (file.stat().st_mtime, file.name))
        self._parts = [] if share else [file for file in files if file != self._own]
        self._entries = {name: entry for file in files for name, entry in _read(file).items()}
        self._recorded = set(_read(self._own)) if share else self._entries.keys()
        self._file: LineWriter | None = None

    def entry(self, job: Job) -> Entry:
        """Returns the manifest's last line for a job's picture, as a dict.

        If the manifest has no such line, returns an entry without outputs.
        """
        return self._entries.get(str(job.name), {"outputs": {}, "writing": []})

    def written(self, job: Job, kind: str) -> Entry | None:
        """Returns the inputs and settings that made a job's output of this kind.

        Returns None if the output file does not exist or is incomplete, or if the manifest does not
        list it.
        """
        path, entry = job.outputs[kind], self.entry(job)
        if str(path) in entry["writing"] or not is_written(self.folder / path):
            return None
        return entry["outputs"].get(str(path))

    def check(self, jobs: Iterable[Job], settings: dict[str, dict[str, Any]]) -> None:
        """Checks that all existing outputs of `jobs` were made with these settings.

        Args:
          jobs: the jobs to do.
          settings: {kind of output: its settings}.

        Raises:
          PlanError: an output was made with other settings, or is not in the manifest.
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
                f"{_some(foreign)}: already present, but not written from this picture by this "
                "command; choose another folder with -o, or use --overwrite to replace."
            )
        if others:
            raise PlanError(
                f"{self.folder}: {len(others)} of the pictures were done with other settings "
                f"({'; '.join(sorted(difference))}); choose another folder with -o, or use "
                "--overwrite to do them again."
            )

    def start(self, job: Job, made: dict[str, Entry]) -> None:
        """Records that a job's outputs will be written now.

        Args:
          job: the job.
          made: for each kind of output that will be written, a dict with its "settings" and a
            checksum for each input.
        """
        before = self.entry(job)
        files = {str(job.outputs[kind]): how for kind, how in made.items()}
        self._record(
            job,
            STARTED,
            outputs={**before["outputs"], **files},
            writing=sorted({*before["writing"], *files}),
        )

    def finish(self, job: Job, kinds: Iterable[str] = (), **values: Any) -> None:
        """Records that a job is done.

        Args:
          job: the job.
          kinds: the kinds of output that were written and are now complete.
          values: further values for the picture's line in the manifest, such as warnings and
            seconds. They only inform the user.
        """
        files = {str(job.outputs[kind]) for kind in kinds}
        writing = [file for file in self.entry(job)["writing"] if file not in files]
        self._record(job, DONE, writing=writing, **values)

    def wait(self, job: Job, reasons: Iterable[str]) -> None:
        """Records that a picture needs review, and why.

        Output files that an earlier run made of the picture remain listed in the manifest.
        """
        self._record(job, WAITING, reasons=list(reasons))

    def fail(self, job: Job, reason: str) -> None:
        """Records that a picture could not be processed, and why.

        Output files that an earlier run made of the picture remain listed in the manifest.
        """
        self._record(job, FAILED, reason=reason)

    def _record(self, job: Job, status: str, **values: Any) -> None:
        """Appends a line; may be called from any thread."""
        entry = {
            **{"input": str(job.source), "name": str(job.name), "status": status},
            **{k: v for k, v in self.entry(job).items() if k not in _OF_THE_ATTEMPT},
            **values,
        }
        with self._lock:
            if self._file is None:
                self._file = LineWriter(self._own)
            self._entries[str(job.name)] = entry
            if isinstance(self._recorded, set):
                self._recorded.add(entry["name"])
            self._file.append(entry)

    def close(self, order: Iterable[Job] = ()) -> None:
        """Rewrites the manifest with one line per picture.

        The pictures of the jobs `order` come last, in the order of the jobs. All others come first.
        """
        if self._file is None and not self._parts:
            return
        if self._file is not None:
            self._file.close()
            self._file = None
        names = [str(job.name) for job in order]
        current = dict.fromkeys(names)
        names = [name for name in self._entries if name not in current] + names
        write_lines(self._own, (self._entries[name] for name in names if name in self._recorded))
        for part in self._parts:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def open_manifest(
    folder: Path, jobs: Iterable[Job], share: Share | None = None
) -> Iterator[Manifest]:
    """Opens the manifest of an output folder, and locks the folder against other processes.

    The folder is created if it does not exist. Temporary files of killed runs are removed from the
    folders where `jobs` will write.

    If `share` is given, other processes may open the folder at the same time for other shares.
    Temporary files are then kept, because those processes may be writing them.

    Raises:
      PlanError: another process uses the folder, or it cannot be written to.
    """
    try:
        require_writable(folder)
    except OSError as error:
        raise PlanError(
            f"{folder}: outputs cannot be written there ({error.strerror}); free disk space, or "
            "choose another folder with -o."
        ) from None
    refusal = PlanError(
        f"{folder}: another process is writing there; wait for it, or choose another folder with "
        "-o."
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
    for entry in read_lines(file):
        with contextlib.suppress(TypeError, KeyError, AttributeError):  # skips damaged lines
            outputs = entry["outputs"].values()
            if all(isinstance(how["settings"], dict) for how in outputs) and "writing" in entry:
                entries[entry["name"]] = entry
    return entries


def _difference(before: dict, now: dict) -> set[str]:
    return {
        f"{name} was {_brief(before.get(name))}, now {_brief(now.get(name))}"
        for name in before.keys() | now.keys()
        if before.get(name) != now.get(name)
    }


def _brief(value: Any) -> str:
    if isinstance(value, dict):  # a checkpoint
        return f"{value.get('network')} {str(value.get('sha256'))[:12]}"
    return json.dumps(value)


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(map(str, paths[:_NAMED])) + more
