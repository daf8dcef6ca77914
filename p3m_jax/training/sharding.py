"""Where a run's arrays lie: batches are cut along the devices, the state is on all or cut, too."""

from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from p3m_jax.copy_paste.feature import replicated_entries
from p3m_jax.training.state import TrainState

# Smaller arrays are on every device whatever is asked for: sending them costs more than they take.
SMALLEST_CUT = 2**16  # elements


def _same(tree):  # one function, so that it is compiled once
    return tree


class Places(NamedTuple):
    """The devices of a run, in one row.

    Attributes:
      mesh: all devices of all processes along "data".
      everywhere: the whole array is on each of them.
      over_batch: the first axis is cut along them.
    """

    mesh: jax.sharding.Mesh
    everywhere: NamedSharding
    over_batch: NamedSharding

    @classmethod
    def of_all_devices(cls) -> "Places":
        """Those of this process and of all others of the job."""
        automatic = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=automatic)
        return cls(
            mesh,
            NamedSharding(mesh, PartitionSpec()),
            NamedSharding(mesh, PartitionSpec("data")),
        )

    def of_state(self, state: TrainState, *, cut: bool) -> TrainState:
        """The sharding of each array of a state (of arrays or their shapes).

        All are everywhere; where `cut` is on, large ones are cut along their longest axis that the
        devices divide ("FSDP"): parameters, moments and average take that much less memory, and
        are gathered where a step needs them.
        """

        def place(array):
            axes = [axis for axis in range(array.ndim) if array.shape[axis] % self.mesh.size == 0]
            if not cut or not axes or array.size < SMALLEST_CUT:
                return self.everywhere
            longest = max(axes, key=lambda axis: array.shape[axis])
            return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, "data"))

        return jax.tree.map(place, state)

    def batch(self, arrays):
        """This process's part of a batch as global arrays; nothing is sent."""
        return {
            name: jax.make_array_from_process_local_data(
                self.everywhere if name in replicated_entries() else self.over_batch, array
            )
            for name, array in arrays.items()
        }

    def local(self, tree):
        """The whole of a tree of global arrays, on one device of this process; a collective."""
        gathered = jax.jit(_same, out_shardings=self.everywhere)(tree)
        return jax.tree.map(lambda array: array.addressable_data(0), gathered)
