"""`p3m train` and `train.py`: trains P3M-Net."""

import argparse
import importlib.resources
import re
import sys
from importlib.resources.abc import Traversable
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from p3m_jax.configs import common
from p3m_jax.errors import OptionError
from p3m_jax.runtime import distributed
from p3m_jax.runtime.large_pages import restart_with_large_pages
from p3m_jax.text import say, warn

HELP = "train P3M-Net"

USAGE = """\
Trains P3M-Net.

python train.py --config=configs/swin.py --config.data.directory=P3M-10k
python train.py --config=configs/swin.py:smoke
python train.py --config=configs/resnet34.py:finetune --config.init_from=CHECKPOINT \\
    --config.data.pictures=PHOTOS --config.data.mattes=MATTES
p3m train swin:smoke,icp

Without a data set the program trains a demonstration on synthetic portraits, and says so. Change
any setting of the configuration with --config.NAME=VALUE; configs/common.py explains all settings.
Run the same command again to resume a stopped run. Exit code: 0 trained, or stopped by a signal
after saving; 1 failed (one message says why); 2 wrong options.

Options:
"""

_DATA = {
    "directory": "P3M-10k's folder",
    "pictures": "the folder of your pictures",
    "mattes": "the folder of their mattes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the configuration as an argument; all arguments after it are passed to `train`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = USAGE + _options([]).module_help(__name__)
    parser.add_argument(
        "configuration",
        metavar="NAME[:VARIANT]",
        help=f"one of {', '.join(_names())}, or a file *.py; after a colon a variant, such as "
        "smoke, or smoke,icp,B:N",
    )
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="--OPTION=VALUE", help="options as above"
    )


def run(args: argparse.Namespace) -> int:
    """Trains with the configuration in the arguments; returns the exit code."""
    name, colon, variant = args.configuration.partition(":")
    file = Path(name)
    if file.suffix != ".py":
        if name not in _names():
            raise OptionError(f"Unknown configuration {name!r}; choose {', '.join(_names())}.")
        file = Path(str(_configurations() / f"{name}.py"))
    return train([f"--config={file}{colon}{variant}", *args.options])


def main(arguments: list[str] | None = None) -> int:
    """Runs the script `train.py`; returns the exit code.

    `arguments` are the command-line arguments, by default those of this process.
    """
    from p3m_jax.commands import one_sentence_errors

    with one_sentence_errors():
        return train(sys.argv[1:] if arguments is None else arguments, restart=True)


def train(arguments: list[str], *, restart: bool = False) -> int:
    """Trains with the options in `arguments`; returns 0.

    If `arguments` contain `--help`, only prints the help. If `restart` is True, the process may
    first restart itself to use large memory pages, see `p3m_jax.runtime.large_pages`.

    Raises:
      OptionError: the options are wrong.
    """
    if not {"--help", "-help", "-h", "--helpfull"}.isdisjoint(arguments):
        say(USAGE + _options([]).module_help(__name__))
        return 0
    options = _parse(arguments)
    config = _configuration(options)
    if restart:
        restart_with_large_pages()
    logging.set_verbosity(logging.ERROR)
    # Imported after the options are read, so that wrong options are reported quickly.
    from p3m_jax.commands import one_sentence_errors
    from p3m_jax.runtime.compilation import keep_compiled

    workdir = options.workdir or _default_workdir(config, options)
    warning = keep_compiled(options.compilation_cache)
    if warning:
        warn(warning)
    # The order matters: an error is printed before the other processes learn that this one ends.
    with distributed.connected(options.distributed), one_sentence_errors():
        # Imported here, after `connected` has silenced all processes but the first.
        from p3m_jax.training import loop

        loop.train(config, workdir)
    return 0


def _configurations() -> Traversable:
    return importlib.resources.files("p3m_jax.configs")


def _names() -> list[str]:
    files = (Path(file.name) for file in _configurations().iterdir())
    return sorted(
        f.stem for f in files if f.suffix == ".py" and f.stem not in ("__init__", "common")
    )


def _options(arguments: list[str]) -> flags.FlagValues:
    """Defines all options; those named `--config.*` come from the configuration in `arguments`."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "The configuration: a file, and after a colon a variant. Variants are smoke, finetune, "
        "demonstration, icp and fcp (both P3M-CP), and protocols such as B:N; separate several "
        "with commas.",
        flag_values=values,
        sys_argv=["train.py", *arguments],
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "The run's folder (default: a folder in runs/, named after the configuration).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "distributed",
        "off",
        "Runs several processes as one training run (docs/scaling.md): " + distributed.HELP + ".",
        flag_values=values,
    )
    flags.DEFINE_string(
        "compilation-cache",
        None,
        "Folder that keeps compiled programs, so that a resumed run need not compile again; off: "
        "keep none (default: $JAX_COMPILATION_CACHE_DIR if set, else p3m-jax/compiled in "
        "$XDG_CACHE_HOME or ~/.cache).",
        flag_values=values,
    )
    flags.DEFINE_alias("compilation_cache", "compilation-cache", flag_values=values)
    return values


def _parse(arguments: list[str]) -> flags.FlagValues:
    """Parses the arguments and returns the options; raises `OptionError` if they are wrong."""
    options = _options(arguments)
    try:
        rest = options(["train.py", *arguments])
        if rest[1:]:
            raise OptionError(f"Unknown argument {rest[1]!r}; see --help.")
        if options.config is None:
            raise OptionError(
                "Choose a configuration, such as --config=configs/swin.py; see --help."
            )
        data = options.config.data  # raises only here if the file cannot be loaded
        overrides = config_flags.get_override_values(options["config"])
        for name, what in _DATA.items():
            if f"data.{name}" in overrides and not data[name]:
                raise OptionError(f"--config.data.{name} is empty; choose {what}.")
        return options
    except OptionError:
        raise
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        cause: BaseException = error
        while cause.args and isinstance(cause.args[0], Exception):
            cause = cause.args[0]  # ml_collections wraps the original error
        lines = [line.strip() for line in str(cause.args[0]).splitlines() if line.strip()]
        # If a configuration file cannot be loaded, the last line of the traceback says why.
        loading = isinstance(cause, OSError) or "Traceback" in str(cause)
        text = re.sub(r"^\w*Error: ", "", lines[-1]) if loading else " ".join(lines)
        raise OptionError(text, "See --help for options, configs/common.py for settings.") from None


def _configuration(options: flags.FlagValues) -> ConfigDict:
    """Returns the configuration as given, or as a demonstration if no data set is chosen."""
    config = options.config
    if _names_data(config) or common.part_of(config, common.BASES):
        return config
    config = common.demonstrated(config)
    config.update_from_flattened_dict(config_flags.get_override_values(options["config"]))
    return config


def _names_data(config: ConfigDict) -> bool:
    return any(config.data[name] for name in _DATA)


def _default_workdir(config: ConfigDict, options: flags.FlagValues) -> Path:
    """Returns a folder named after the configuration.

    The variant of copy and paste comes first, as in older versions.
    """
    name = Path(config_flags.get_config_filename(options["config"]).partition(":")[0]).stem
    pasting = common.part_of(config, common.COPY_PASTE)
    name = f"{name}_{pasting}" if pasting else name
    rest = [part.replace(":", "-") for part in config.variant.split(",") if part != pasting]
    parts = [name, *rest, "" if _names_data(config) else "synthetic"]
    return Path("runs") / "-".join(part for part in parts if part)
