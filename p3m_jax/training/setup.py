"""Prepares a run before its first step: the data, network, weights and devices."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from p3m_jax.checkpoints.folder import RUN_CHECKPOINTS
from p3m_jax.checkpoints.weights import describe
from p3m_jax.models.network import Network, network
from p3m_jax.runtime import distributed
from p3m_jax.text import say, shown
from p3m_jax.training.data import TrainingData, prepare_data
from p3m_jax.training.run_checkpoints import newest_whole
from p3m_jax.training.run_folder import claim_data, home_of_checkpoints
from p3m_jax.training.settings import Settings
from p3m_jax.training.sharding import Places
from p3m_jax.training.start import first_variables, past_of
from p3m_jax.training.state import TrainState, initial_state, make_optimizer


class Setup(NamedTuple):
    """A run that is ready to take steps.

    Attributes:
      settings: the settings of the run.
      workdir: the run's folder.
      data: the pictures for training and for validation.
      steps: the number of steps of the whole run.
      network: the network that is trained.
      optimizer: the optimiser.
      places: the devices.
      where: the sharding of each array of the training state.
      pasting_from: the number of steps before faces are pasted into features; `steps` if never.
      checkpoints: the folder of the run's checkpoints.
      description: stored in each checkpoint, see `p3m_jax.checkpoints.weights.describe`.
    """

    settings: Settings
    workdir: Path
    data: TrainingData
    steps: int
    network: Network
    optimizer: optax.GradientTransformation
    places: Places
    where: TrainState
    pasting_from: int
    checkpoints: Path
    description: dict[str, Any]

    @property
    def synthetic(self) -> bool:
        """Whether the weights are trained on synthetic portraits, in this run or before it."""
        return self.description["synthetic"]


def set_up(settings: Settings, workdir: Path) -> tuple[Setup, TrainState]:
    """Prepares a run; returns the setup, and the state from which the run starts or resumes.

    The state is read from the run's newest undamaged checkpoint. If the run has no checkpoints, the
    state is the one before the first step. Raises the same errors as `p3m_jax.training.loop.train`.
    """
    step, pasting = settings.step, settings.copy_paste
    with distributed.first_in_turn("the data set"):
        data = prepare_data(settings.data, workdir, pasting)
        home = home_of_checkpoints(settings.loop.checkpoint_directory, workdir)
        claim_data(home, data.train, data.copy_paste)
    pictures = len(data.train.examples)
    steps = settings.length.in_steps(pictures)
    net = network(settings.network)
    optimizer = make_optimizer(
        step.learning_rate, rule=step.learning_rate_rule, batch_size=step.batch_size
    )
    places = Places.of_all_devices()
    first = functools.partial(initial_state, net, optimizer, average=step.average)
    shapes = jax.eval_shape(first, net.shapes)
    where = places.of_state(shapes, cut=step.shard_state)
    with distributed.first_in_turn("the run's checkpoints"):
        saved = newest_whole(home / RUN_CHECKPOINTS, shapes)
    if saved:
        state = saved.placed(where)
        synthetic, past = saved.description["synthetic"], past_of(saved.description)
        say(f"Resuming from step {int(state.step)} of {shown(home)}.")
    else:
        variables, synthetic, past = first_variables(
            net, settings.init_from, seed=settings.seed, learning_rate=step.learning_rate
        )
        state = jax.jit(first, out_shardings=where)(variables)
    description = describe(
        net.name,
        weights="average" if settings.loop.validate_average else "parameters",
        synthetic=synthetic or data.synthetic,
        provenance={
            "run": workdir.name,
            "data": data.train.name,
            "pictures": pictures,
            "seed": settings.seed,
            **settings.data.describe_faces(),
            **({"copy_paste": str(data.copy_paste)} if data.copy_paste else {}),
            **past,
        },
    )
    setup = Setup(
        settings=settings,
        workdir=workdir,
        data=data,
        steps=steps,
        network=net,
        optimizer=optimizer,
        places=places,
        where=where,
        pasting_from=pasting.start.in_steps(pictures) if pasting and pasting.features else steps,
        checkpoints=home / RUN_CHECKPOINTS,
        description=description,
    )
    return setup, state
