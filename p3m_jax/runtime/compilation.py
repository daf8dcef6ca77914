"""Compiles programs, caches them on disk for the next start, and frees memory after compiling.

Commands turn the cache on; code that uses this package as a library keeps its own settings.
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
    """Returns the folder for compiled programs if the user does not choose one."""
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "p3m-jax" / "compiled"


def keep_compiled(choice: str | None = None) -> str | None:
    """Makes JAX cache every program that it compiles from now on, however small.

    Truncated files in the cache are removed: JAX cannot read such a program, so it would recompile
    it at every start and never write it again.

    Args:
      choice: a folder, or "off". None means the folder that JAX_COMPILATION_CACHE_DIR names, or
        else `default_cache`.

    Returns:
      None, or a sentence that warns that nothing is cached.
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
    """Returns options of `Lowered.compile` for programs that run a network forward.

    On a CPU, libraries compute the matrix products. The code around them is as fast at LLVM's
    optimization level 1 as at level 3, and compiles in a quarter less time for ResNet-34 and a
    tenth less for the other networks. A training step takes as long to compile at either level, so
    it keeps the default.
    """
    return {"xla_backend_optimization_level": 1} if backend == "cpu" else {}


def settle() -> None:
    """Excludes all objects that exist now from Python's garbage collection.

    Tracing triggers the collection often. Call this once a command has imported what it needs;
    lowering a program then takes two thirds of the time.
    """
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Gives unused memory back to the system, for example after compiling.

    Otherwise the C library keeps it (half a gigabyte after a training step is compiled), and later
    allocations add to it. Does nothing if the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
