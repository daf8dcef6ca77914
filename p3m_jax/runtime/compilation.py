"""How programs are compiled, kept on disk for a second start, and what compiling leaves.

Commands turn keeping on; libraries leave the user's settings alone.
"""

import contextlib
import ctypes
import gc
import os
import tempfile
import time
import zlib
from pathlib import Path

OFF = "off"
_CHECKED = ".checked"  # its time: programs kept before it were found whole
_BEING_WRITTEN = 60  # seconds
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
OPTION = "--compilation-cache"


def default_cache() -> Path:
    """Where compiled programs are kept unless the user says otherwise."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "p3m-jax" / "compiled"


def keep_compiled(choice: str | None = None, *, option: str = OPTION) -> str | None:
    """Makes JAX keep what it compiles from now on, every program however small.

    A program that was cut off when it was written is removed: JAX would compile it at every start,
    and never write it again.

    Args:
      choice: a folder, or "off". None: the folder that JAX_COMPILATION_CACHE_DIR names, else
        `default_cache`.
      option: by which the user names another folder.

    Returns:
      None, or a sentence that warns that nothing is kept.
    """
    import jax

    if choice == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    try:
        folder = Path(
            choice or os.environ.get("JAX_COMPILATION_CACHE_DIR") or default_cache()
        ).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _remove_cut_off(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        reason = getattr(error, "strerror", None) or error
        jax.config.update("jax_enable_compilation_cache", False)
        return (
            f"Compiled programs are not kept ({reason}), so every start compiles anew; name a "
            f"folder with {option}."
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
    """Whether a program, packed as JAX does it, can be unpacked."""
    if not packed.startswith(_ZSTANDARD):
        unpacking = zlib.decompressobj()
        with contextlib.suppress(zlib.error):
            unpacking.decompress(packed)
        return unpacking.eof
    try:
        import zstandard
    except ImportError:  # and JAX cannot read it, either
        return True
    try:
        zstandard.decompress(packed)
    except zstandard.ZstdError:
        return False
    return True


def for_inference(backend: str) -> dict[str, int]:
    """How programs that run a network forward are compiled, for `Lowered.compile`.

    On a CPU products run in libraries: LLVM's first level makes what is around them as fast as its
    third does, and takes a quarter less time for ResNet-34, a tenth for the others. A training
    step takes as long to compile at either, so it keeps the default.
    """
    return {"xla_backend_optimization_level": 1} if backend == "cpu" else {}


def settle() -> None:
    """Takes what is loaded by now out of Python's garbage collection, which tracing sets off often.

    To be called once a command has imported what it needs; lowering a program then takes two
    thirds of the time.
    """
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Gives the system back what compiling, or anything else, has left unused.

    The C library keeps it else, half a gigabyte after a training step, and what comes next takes
    its own on top. Nothing happens where that is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
