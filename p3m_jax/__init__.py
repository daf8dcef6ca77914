"""P3M-JAX: portrait matting without a trimap, trained without clear faces.

    matte = p3m_jax.load("checkpoint")
    alpha = matte("photo.jpg")

Importing this package is fast, because it loads no large libraries. Import everything else from its
subpackages: `p3m_jax.models`, `p3m_jax.losses`, `p3m_jax.data`, `p3m_jax.input`,
`p3m_jax.training`, `p3m_jax.evaluation` and `p3m_jax.prediction`.
"""

import os
from typing import TYPE_CHECKING, Any

from p3m_jax.version import __version__

# etils reads this variable once per process. With "false" it accesses buckets in the same way
# whether or not TensorFlow is installed, and does not import TensorFlow.
os.environ.setdefault("EPATH_USE_TF", "false")

if TYPE_CHECKING:
    from p3m_jax.inference.matting import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from p3m_jax.inference.matting import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
