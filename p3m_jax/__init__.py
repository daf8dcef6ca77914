"""P3M-JAX: portrait matting without a trimap, trained without anyone's face.

Importing this package imports nothing heavy; take what you need from its rooms:
`p3m_jax.models`, `p3m_jax.losses`, `p3m_jax.data`, `p3m_jax.input`, `p3m_jax.training` and
`p3m_jax.evaluation`.
"""

__version__ = "0.1.0"
