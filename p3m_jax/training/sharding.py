"""Places a run's arrays on devices.

Batches are split across the devices. The training state is either replicated on all devices, or its
large arrays are split, too.
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
        """Creates the `Places` for all devices of all processes of the run."""
        automatic = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=automatic)
        return cls(
            mesh,
            NamedSharding(mesh, PartitionSpec()),
            NamedSharding(mesh, PartitionSpec("data")),
        )

    def of_state(self, state: TrainState, *, cut: bool) -> TrainState:
        """Returns the sharding of each array in a state, as a tree like `state`.

        Args:
          state: a training state of arrays, or of their shapes.
          cut: whether to split arrays of at least 2**16 values across the devices ("FSDP"). Each of
            these arrays is split along the longest axis whose length is divisible by the number of
            devices, or replicated if there is no such axis. Splitting saves memory, but every step
            must gather the split arrays. If False, all arrays are replicated.
        """

        def place(array: jax.Array) -> NamedSharding:
            axes = [axis for axis in range(array.ndim) if array.shape[axis] % self.mesh.size == 0]
            if not cut or not axes or array.size < SMALLEST_CUT:
                return self.everywhere
            longest = max(axes, key=lambda axis: array.shape[axis])
            return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, "data"))

        return jax.tree.map(place, state)

    def batch(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Makes the global arrays of a batch; each process provides its own examples.

        `arrays` holds the examples of this process, and the entries that are the same on all
        processes (`p3m_jax.copy_paste.feature.replicated_entries`). No data is sent between
        processes.
        """
        return {
            name: jax.make_array_from_process_local_data(
                self.everywhere if name in replicated_entries() else self.over_batch, array
            )
            for name, array in arrays.items()
        }

    def local(self, tree: Any) -> Any:
        """Copies a tree of global arrays completely to one device of each process.

        All processes must call this method.
        """
        gathered = jax.jit(_same, out_shardings=self.everywhere)(tree)
        return jax.tree.map(lambda array: array.addressable_data(0), gathered)
