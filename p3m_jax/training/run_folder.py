"""A run's folder: whose it is, and whether a configuration may go on in it."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from p3m_jax.training.errors import RunFolderError

CONFIG_FILE = "config.json"

# What may change when a run goes on: nothing that the steps already taken depended on.
_MAY_CHANGE = (
    "steps",
    "epochs",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "validation_size",
    "validation_rows",
    "keep_checkpoints",
    "final_test_sets",
    "data.directory",
    "data.foreground_cache",
)


def claim_run_folder(workdir: Path, config: ConfigDict) -> None:
    """Makes `workdir` this configuration's, or checks that it is already.

    Raises:
      RunFolderError: it holds other things, or a run with other settings.
    """
    file = workdir / CONFIG_FILE
    settings = json.loads(json.dumps(config.to_dict()))
    if workdir.exists() and not workdir.is_dir():
        raise RunFolderError(f"{workdir}: is a file; name a folder with --workdir.")
    if not file.exists():
        if workdir.exists() and any(workdir.iterdir()):
            raise RunFolderError(
                f"{workdir}: holds files that are no training run; name another --workdir."
            )
        workdir.mkdir(parents=True, exist_ok=True)
    else:
        differences = _differences(_read(file), settings)
        if differences:
            raise RunFolderError(
                f"{workdir}: holds a run with other settings ({'; '.join(differences)}); "
                "use those to go on with it, or name another --workdir."
            )
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunFolderError(f"{file}: cannot be read ({error}); name another --workdir.") from None


def _differences(there: dict, here: dict) -> list[str]:
    there, here = _flat(there), _flat(here)
    names = sorted((there.keys() | here.keys()) - set(_MAY_CHANGE))
    return [
        f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in names
        if there.get(name) != here.get(name)
    ]


def _flat(settings: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
