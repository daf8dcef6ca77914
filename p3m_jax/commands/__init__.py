"""The commands `p3m NAME`, a module each with HELP, `add_arguments` and `run`; what they share."""

import contextlib
import sys


@contextlib.contextmanager
def one_sentence_errors():
    """Turns the errors that a user can mend into one sentence and exit code 1.

    These are ValueErrors of ours (data sets, pictures, checkpoints, run folders, configurations),
    a diverged training, and the system's about files and disks. A bug keeps its traceback.
    """
    from p3m_jax.checkpoint import CheckpointError
    from p3m_jax.data.layouts import DataSetError
    from p3m_jax.images import ImageError
    from p3m_jax.training.errors import TrainingError

    try:
        yield
    except (CheckpointError, DataSetError, ImageError, TrainingError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(1) from None
