"""Checks that a run can use its folder: the folder must be empty, or contain the same run.

The setting `checkpoint_directory` can choose another folder for the checkpoints, for instance in a
bucket. The run's settings, and hashes of the names of its pictures and of the faces it copies, are
then stored there with the checkpoints. So the run can be resumed in a new run folder, whose log
starts at the step where the run was resumed.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from p3m_jax.checkpoints.folder import RUN_CHECKPOINTS, complete_steps
from p3m_jax.configs import common
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.data.sets import DataSet
from p3m_jax.storage import StrPath
from p3m_jax.storage.bucket import folder_or_bucket, is_address
from p3m_jax.storage.files import locked, write_text
from p3m_jax.training.errors import RunFolderError
from p3m_jax.training.faces_to_copy import identity_of_faces

CONFIG_FILE = "config.json"
DATA_FILE = "data.json"
LOCK_FILE = ".lock"

# Settings that may change when a run is resumed, because the steps already taken do not depend on
# them.
_MAY_CHANGE = (
    "variant",
    "steps",
    "epochs",
    "init_from",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "validation_rows",
    "keep_checkpoints",
    "checkpoint_directory",
    "remat",
    "shard_state",
    "final_test_sets",
    "test_faces",
    "data.directory",  # the set may have moved, but must be the same: see `claim_data`
    "data.pictures",
    "data.mattes",
    "data.foreground_cache",
    "data.private_cache",
    "copy_paste.sources",  # may have moved, too
    "copy_paste.source_masks",
    "copy_paste.source_cache",
)


def refuse_buckets(workdir: StrPath) -> None:
    """Raises `RunFolderError` if `workdir` is in a bucket, because a run appends to its log.

    Files in buckets cannot be appended to.
    """
    if is_address(workdir):
        raise RunFolderError(
            f"{workdir}: a run's folder cannot be in a bucket, because its log is appended to. "
            f"Use a local folder with --workdir, and add --config.checkpoint_directory={workdir} "
            "to store the checkpoints in the bucket."
        )


def home_of_checkpoints(directory: str | None, workdir: Path) -> Path:
    """Returns the folder of a run's checkpoints: `directory`, or `workdir` if `directory` is None.

    `directory` is the setting `checkpoint_directory`, a folder or an address in a bucket.

    Raises:
      BucketError: `directory` is a bucket that this machine cannot use.
    """
    return folder_or_bucket(directory) if directory else workdir


@contextlib.contextmanager
def claim_run_folder(workdir: Path, configuration: dict[str, Any]) -> Iterator[None]:
    """Reserves `workdir` for a run with this configuration inside a `with` block.

    If the folder already contains a run with checkpoints, the settings that affected its steps must
    be the same. Other settings, such as `log_every`, may differ. Only one process at a time can
    reserve a folder.

    Args:
      workdir: the run's folder.
      configuration: all settings and their values; they are recorded in the folder.

    Raises:
      RunFolderError: the folder contains other files, or a run with other settings, or another
        process is training in it.
    """
    if workdir.exists() and not workdir.is_dir():
        raise RunFolderError(f"{workdir}: is a file; choose a folder with --workdir.")
    home = home_of_checkpoints(configuration.get("checkpoint_directory"), workdir)
    for folder, flag in ((workdir, "--workdir"), (home, "--config.checkpoint_directory")):
        foreign = folder.exists() and [p for p in folder.iterdir() if not p.name.startswith(".")]
        if foreign and not (folder / CONFIG_FILE).exists():
            raise RunFolderError(
                f"{folder}: contains files that are not a training run; choose another {flag}."
            )
        folder.mkdir(parents=True, exist_ok=True)
    refusal = RunFolderError(
        f"{workdir}: another process is training in it; wait for it, or choose another --workdir."
    )
    (workdir / LOCK_FILE).touch()
    with locked(workdir / LOCK_FILE, refusal):
        settings = json.loads(json.dumps(configuration))  # tuples become lists
        if (workdir / CONFIG_FILE).exists():
            before = _read(workdir / CONFIG_FILE).get("checkpoint_directory")
            before = home_of_checkpoints(before, workdir)
            if before != home and complete_steps(before / RUN_CHECKPOINTS):
                raise RunFolderError(
                    f"{workdir}: the checkpoints of its run are in {before}, not in {home}; use "
                    "the same --config.checkpoint_directory as before, or choose another --workdir."
                )
        if complete_steps(home / RUN_CHECKPOINTS):
            differences = _differences(_read(home / CONFIG_FILE), settings)
            if differences:
                raise RunFolderError(
                    f"{home}: contains a run with other settings ({'; '.join(differences)}). "
                    "Use its settings to resume it, or choose another folder."
                )
        for folder in dict.fromkeys((home, workdir)):
            write_text(folder / CONFIG_FILE, json.dumps(settings, indent=2) + "\n")
        yield


def claim_data(home: Path, dataset: DataSet, copy_paste: CopyPaste | None = None) -> None:
    """Checks that a resumed run trains on the same pictures as before, and copies the same faces.

    Compares the numbers of pictures and faces, and hashes of their names, with a record in `home`.
    Then updates the record. A new run has no record yet, so nothing is compared.

    Args:
      home: the folder that holds the run's checkpoints, see `home_of_checkpoints`.
      dataset: the training pictures.
      copy_paste: the faces to copy; None if copy and paste is off.

    Raises:
      RunFolderError: earlier steps used other pictures or faces.
    """
    stems = "\n".join(example.stem for example in dataset.examples)
    identity = {
        "synthetic": dataset.synthetic,
        "pictures": len(dataset.examples),
        "sha256_of_names": hashlib.sha256(stems.encode()).hexdigest(),
        **identity_of_faces(copy_paste),
    }
    file = home / DATA_FILE
    if complete_steps(home / RUN_CHECKPOINTS) and file.exists() and _read(file) != identity:
        raise RunFolderError(
            f"{home}: its run used other pictures than those of {dataset.root}, or copied other "
            "faces. To resume it, use the original ones; otherwise choose another --workdir."
        )
    write_text(file, json.dumps(identity, indent=2) + "\n")


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunFolderError(
            f"{file}: cannot be read ({error}); choose another --workdir."
        ) from None


def _differences(there: dict, here: dict) -> list[str]:
    there, here = _flat(there), _flat(here)
    # A setting added since the run started counts as the recipe's default, so older runs resume.
    recipe = _flat(json.loads(json.dumps(common.recipe("swin").to_dict())))
    there = {name: recipe[name] for name in here.keys() & recipe.keys()} | there
    names = sorted((there.keys() | here.keys()) - set(_MAY_CHANGE))
    return [
        f"{name} is {there.get(name)!r} in that run and {here.get(name)!r} now"
        for name in names
        if there.get(name) != here.get(name)
    ]


def _flat(settings: dict, prefix: str = "") -> dict:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
