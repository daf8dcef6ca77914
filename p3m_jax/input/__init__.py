"""Training samples: order, augmentation and batches with tf.data, and foreground estimation.

TensorFlow only reads and prepares pictures here, on the host; the network is JAX's. Whoever needs
it takes it from `host_tensorflow`, so that it never reserves an accelerator's memory.
"""

import os


def host_tensorflow():
    """The `tensorflow` module, quiet and without accelerators.

    Raises `RuntimeError` if TensorFlow has been running in this process with a GPU before.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; read at the first import
    # oneDNN's operations announce themselves, and round differently from run to run.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf
