"""Trains P3M-Net.

python train.py --config=configs/swin.py --config.data.directory=P3M-10k
python train.py --config=configs/swin.py:smoke
python train.py --config=configs/resnet34.py:finetune --config.init_from=CHECKPOINT \\
    --config.data.pictures=PHOTOS --config.data.mattes=MATTES

Without a data set it trains a demonstration on synthetic portraits, and says so. Any setting of
the configuration can be given as --config.NAME=VALUE; the names stand in configs/common.py. The
same command goes on where a stopped run ended. Exit code: 0 trained, or stopped as asked after
saving; 1 it could not be done (one message says why); 2 wrong options.
"""

import importlib.util
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from p3m_jax.configs import common
from p3m_jax.runtime import distributed
from p3m_jax.runtime.large_pages import restart_with_large_pages
from p3m_jax.text import warn

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration: a file, and after a colon a variant of it (smoke)."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder (default: runs/ and a name after the configuration)."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "off",
    "Several processes as one training, see docs/scaling.md: " + distributed.HELP + ".",
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder that keeps compiled programs, so that a run that goes on need not compile again, or "
    "off (default: $JAX_COMPILATION_CACHE_DIR, else p3m-jax/compiled in ~/.cache).",
)
flags.mark_flag_as_required("config")

_DATA = {
    "directory": "P3M-10k's folder",
    "pictures": "the folder of your pictures",
    "mattes": "the folder of their mattes",
}


def _configuration():
    """The configuration as flags give it; the demonstration where no data set is named."""
    config, flag = _CONFIG.value, flags.FLAGS["config"]
    wanted = f"demonstration,{config.variant}".rstrip(",")
    if _names_data(config) or config.variant not in ("", *common.PROTOCOLS):
        return config
    file = Path(config_flags.get_config_filename(flag))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(wanted)
    config.update_from_flattened_dict(config_flags.get_override_values(flag))
    return config


def _names_data(config) -> bool:
    return any(config.data[name] for name in _DATA)


def _default_workdir(config) -> Path:
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0]).stem
    parts = [name, config.variant.replace(":", "-"), "" if _names_data(config) else "synthetic"]
    return Path("runs") / "-".join(part for part in parts if part)


def _parse(argv):
    """Reads the flags; what is wrong with them becomes a short message and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
        data = _CONFIG.value.data  # a file that cannot be loaded shows only here
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        for name, what in _DATA.items():
            if f"data.{name}" in overrides and not data[name]:
                raise ValueError(f"--config.data.{name} is empty; name {what}.")
        return rest
    except SystemExit as end:
        # Help, once printed, ends with 1 by absl's convention.
        helped = any(argument.lstrip("-").startswith("help") for argument in argv[1:])
        raise SystemExit(0 if helped else end.code) from None
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # ml_collections wraps what it says
        lines = [line.strip() for line in str(error.args[0]).splitlines() if line.strip()]
        # Of what goes wrong while a configuration file is loaded the last line says it.
        loading = isinstance(error, OSError) or "Traceback" in str(error)
        text = lines[-1] if loading else " ".join(lines)
        warn(text, "See --help, and configs/common.py for the settings.")
        raise SystemExit(2) from None


def main(argv) -> int:
    """Reads the flags and trains; returns the exit code."""
    if len(argv) > 1:
        warn(f"Unknown argument {argv[1]!r}; see --help.")
        return 2
    restart_with_large_pages()
    logging.set_verbosity(logging.ERROR)
    # Imported once the flags are read, so that --help is quick.
    from p3m_jax.commands import one_sentence_errors
    from p3m_jax.runtime.compilation import keep_compiled

    config = _configuration()
    workdir = _WORKDIR.value or _default_workdir(config)
    warning = keep_compiled(_COMPILATION_CACHE.value, option="--compilation_cache")
    if warning:
        warn(warning)
    with one_sentence_errors(), distributed.connected(_DISTRIBUTED.value), one_sentence_errors():
        from p3m_jax.training.loop import train  # after silence has fallen on all but the first

        train(config, workdir)
    return 0


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=_parse))
