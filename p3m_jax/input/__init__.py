"""Training samples with tf.data: order, augmentation and batches.

TensorFlow only reads and prepares pictures here, on the host; the network runs in JAX. All code
imports `tf` from here, so that TensorFlow never reserves an accelerator's memory. TensorFlow is
loaded when an attribute of `tf` is first used; this takes about ten seconds.
"""

import functools
import os
from types import ModuleType
from typing import Any, TypeAlias


@functools.cache
def host_tensorflow() -> ModuleType:
    """Returns the `tensorflow` module, quiet and without accelerators.

    Raises `RuntimeError` if TensorFlow has already used a GPU in this process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; read at the first import
    # oneDNN's operations print a notice and round differently from run to run.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf


class _Tensorflow:
    def __getattr__(self, name: str) -> Any:
        return getattr(host_tensorflow(), name)


tf: Any = _Tensorflow()

# A `tf.Tensor`, or a number or array where TensorFlow accepts it. TensorFlow has no type
# information, and naming its class in a signature would load it at import.
Tensor: TypeAlias = Any
