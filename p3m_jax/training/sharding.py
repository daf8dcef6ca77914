"""Places a run's arrays on devices.

Batches are split across the devices. The state is either replicated on all devices or split, too.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from p3m_jax.copy_paste.feature import replicated_entries
from p3m_jax.training.state import TrainState

# Smaller arrays are always replicated: splitting them would save too little memory to be worth
# gathering them at every step.
SMALLEST_CUT = 2**16  # elements


def _same(tree: Any) -> Any:  # a module-level function, so that it is compiled only once
    return tree


class Places(NamedTuple):
    """The devices of a run, as a mesh with one axis.

    Attributes:
      mesh: all devices of all processes along the axis "data".
      everywhere: the sharding that puts the whole array on each device.
      over_batch: the sharding that splits the first axis across the devices.
    """

    mesh: jax.sharding.Mesh
    everywhere: NamedSharding
    over_batch: NamedSharding

    @classmethod
    def of_all_devices(cls) -> "Places":
        """Creates the mesh of all devices of all processes of the job."""
        automatic = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=automatic)
        return cls(
            mesh,
            NamedSharding(mesh, PartitionSpec()),
            NamedSharding(mesh, PartitionSpec("data")),
        )

    def of_state(self, state: TrainState, *, cut: bool) -> TrainState:
        """Returns the sharding of each array of a state (`state` holds arrays or their shapes).

        Without `cut`, all arrays are replicated. With `cut`, each large array is split along its
        longest axis whose length is divisible by the number of devices ("FSDP"). Parameters,
        moments and average then need less memory on each device, and are gathered when a step needs
        them.
        """

        def place(array: jax.Array) -> NamedSharding:
            axes = [axis for axis in range(array.ndim) if array.shape[axis] % self.mesh.size == 0]
            if not cut or not axes or array.size < SMALLEST_CUT:
                return self.everywhere
            longest = max(axes, key=lambda axis: array.shape[axis])
            return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, "data"))

        return jax.tree.map(place, state)

    def batch(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Makes the global arrays of a batch from this process's part of it; sends no data."""
        return {
            name: jax.make_array_from_process_local_data(
                self.everywhere if name in replicated_entries() else self.over_batch, array
            )
            for name, array in arrays.items()
        }

    def local(self, tree: Any) -> Any:
        """Gathers a tree of global arrays on one device of this process.

        This is a collective operation: all processes must call it.
        """
        gathered = jax.jit(_same, out_shardings=self.everywhere)(tree)
        return jax.tree.map(lambda array: array.addressable_data(0), gathered)
