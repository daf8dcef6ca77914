"""Compiles programs, caches them on disk for the next start, and frees memory after compiling.

This project's commands turn the cache on. A program that imports the package keeps its own
settings.
"""

import contextlib
import ctypes
import gc
import os
import time
import zlib
from pathlib import Path

from p3m_jax.storage.files import require_writable
from p3m_jax.storage.paths import PathError, user_path

OFF = "off"
_CHECKED = ".checked"  # all programs cached before its modification time have been checked
_BEING_WRITTEN = 60  # seconds; a younger file may still be being written, so it is not checked
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def default_cache() -> Path:
    """Returns the default folder for compiled programs."""
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "p3m-jax" / "compiled"


def keep_compiled(choice: str | None = None) -> str | None:
    """Makes JAX cache every program that it compiles from now on, however small.

    Truncated files in the cache are removed. Otherwise JAX, which can neither read nor replace such
    a file, would recompile the program at every start.

    Args:
      choice: a folder, or "off" to cache nothing. If None, the folder is the environment variable
        JAX_COMPILATION_CACHE_DIR, or `default_cache()` if the variable is not set.

    Returns:
      None, or a warning for the user if the folder cannot be used, so that nothing is cached.
    """
    import jax

    if choice == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    try:
        folder = user_path(choice or os.environ.get("JAX_COMPILATION_CACHE_DIR") or default_cache())
        require_writable(folder)
        _remove_cut_off(folder)
    except (OSError, PathError) as error:
        reason = getattr(error, "strerror", None) or error
        jax.config.update("jax_enable_compilation_cache", False)
        return (
            f"Compiled programs are not cached ({reason}), so every start recompiles them; choose "
            "a folder with --compilation-cache."
        )
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return None


def _remove_cut_off(folder: Path) -> None:
    stamp, until = folder / _CHECKED, time.time() - _BEING_WRITTEN
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    for program in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            if since <= program.stat().st_mtime <= until and not _is_whole(program.read_bytes()):
                program.unlink()
    stamp.touch()
    os.utime(stamp, (until, until))


def _is_whole(packed: bytes) -> bool:
    """Whether a program that JAX compressed can be decompressed."""
    if not packed.startswith(_ZSTANDARD):
        unpacking = zlib.decompressobj()
        with contextlib.suppress(zlib.error):
            unpacking.decompress(packed)
        return unpacking.eof
    try:
        import zstandard
    except ImportError:  # JAX cannot read it, either
        return True
    try:
        zstandard.decompress(packed)
    except zstandard.ZstdError:
        return False
    return True


def for_inference(backend: str) -> dict[str, int]:
    """Returns the options for `Lowered.compile` to compile a network for inference.

    On a CPU, this is LLVM's optimization level 1 instead of 3; elsewhere there are no options.
    Compiling then takes a quarter less time for ResNet-34, and a tenth less for the other networks.
    Inference is equally fast, because libraries compute the matrix products. Training steps keep
    the default, because they take as long to compile at either level.
    """
    return {"xla_backend_optimization_level": 1} if backend == "cpu" else {}


def settle() -> None:
    """Excludes all objects that exist now from Python's garbage collection.

    Call this after a command has imported all modules. Tracing often triggers garbage collection;
    with fewer objects to examine, lowering a program takes a third less time.
    """
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Returns unused memory from the C library to the system, for example after compiling.

    Otherwise the process keeps this memory: half a gigabyte after a training step is compiled. Does
    nothing if the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
