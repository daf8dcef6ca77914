"""A training run from start to end: `train(config, workdir)`.

Order of where the weights come from: the run's own latest checkpoint, then `config.init_from`, then
fresh ones.
"""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from p3m_jax.checkpoint import (
    RUN_CHECKPOINTS,
    RUN_INFERENCE,
    describe,
    load_for_inference,
    predict,
    save_for_inference,
)
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.images import write_image
from p3m_jax.input.pipeline import training_batches
from p3m_jax.models.network import network
from p3m_jax.training.checkpoint import RunCheckpoints
from p3m_jax.training.data import TrainingData, prepare_data
from p3m_jax.training.errors import ConfigurationError, TrainingDiverged
from p3m_jax.training.interrupt import StopRequest
from p3m_jax.training.log import RunLog
from p3m_jax.training.report import write_report
from p3m_jax.training.run_folder import claim_run_folder
from p3m_jax.training.state import TrainState, initial_state, make_optimizer
from p3m_jax.training.step import make_train_step
from p3m_jax.training.validation import validate


class Run(NamedTuple):
    """How a run ended.

    Attributes:
      step: the number of steps taken, over all starts.
      finished: False where a signal asked it to stop before.
      workdir: holds everything it wrote.
      errors: the mean errors on the validation split at the last scored step.
    """

    step: int
    finished: bool
    workdir: Path
    errors: dict[str, float]


def train(config: ConfigDict, workdir) -> Run:
    """Trains as `config` says (see `configs/common.py`), or goes on where `workdir` stopped.

    Writes checkpoints, `log.jsonl`, TensorBoard events and validation sheets into `workdir` on the
    way, and at the end the exported weights of the step with the least SAD on the validation split
    (`inference/`) and `report.md`. The same configuration gives the same run: batches follow from
    (seed, step), and what a checkpoint holds is all that going on takes.

    Raises:
      DataSetError: the data set is wrong or incomplete.
      RunFolderError: `workdir` holds something else.
      CheckpointError: `config.init_from` cannot be used.
      TrainingDiverged: the loss is not finite.
      ConfigurationError: the batch does not divide among the devices.
    """
    workdir = Path(workdir)
    started = time.time()
    claim_run_folder(workdir, config)

    # ---- data
    data = prepare_data(config, workdir)
    steps = config.steps or -(-config.epochs * len(data.train.examples) // config.batch_size)

    # ---- devices: the batch is cut along `data`, everything else is on all of them
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    over_batch = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    if config.batch_size % jax.device_count():
        raise ConfigurationError(
            f"batch_size {config.batch_size} does not divide among {jax.device_count()} devices; "
            "make it a multiple."
        )

    # ---- model, optimiser, step
    net = network(config.network)
    optimizer = make_optimizer(config)
    step_function = jax.jit(
        make_train_step(net, optimizer, seed=config.seed if config.stochastic_depth else None),
        donate_argnums=0,
    )
    description = describe(
        net.name,
        synthetic=data.synthetic,
        provenance={
            "run": workdir.name,
            "data": data.train.name,
            "pictures": len(data.train.examples),
            "seed": config.seed,
            "init_from": config.init_from,
        },
    )
    checkpoints = RunCheckpoints(workdir, description, keep=config.keep_checkpoints)
    state = initial_state(net, optimizer, _first_variables(config, net))
    state = jax.device_put(state, everywhere)
    if checkpoints.latest_step is not None:
        state = checkpoints.restore(state)
        print(f"Going on from step {int(state.step)} of {workdir}.")
    first = int(state.step)

    # ---- input
    batches = training_batches(
        data.train,
        batch_size=config.batch_size,
        crop_sizes=tuple(config.data.crop_sizes),
        output_size=config.data.output_size,
        seed=config.seed,
        start_step=first,
        composition=config.loss.composition,
        shard=(jax.process_index(), jax.process_count()),
    )

    # ---- loop
    log = RunLog(workdir, synthetic=data.synthetic)
    log.write("start", {"step": first, "steps": steps, "config": config.to_dict()})
    progress = Progress(first, steps, config.batch_size)
    errors: dict[str, float] = {}
    with StopRequest() as stop:
        for step in range(first + 1, steps + 1):
            batch = {
                name: jax.make_array_from_process_local_data(over_batch, array)
                for name, array in next(batches).items()
            }
            state, terms = step_function(state, batch)
            terms = {name: float(value) for name, value in jax.device_get(terms).items()}
            _require_finite(terms, step, workdir)
            progress.update(terms["total"])
            if step % config.log_every == 0 or step == steps:
                log.scalars("step", step, {**terms, "pictures_per_second": progress.rate()})
            if step % config.validate_every == 0 or step == steps:
                errors = _validate(config, net, state, data, workdir, log)
                checkpoints.save(state, errors)
            elif step % config.checkpoint_every == 0 or stop.signal:
                checkpoints.save(state)
            if stop.signal:
                break
    progress.close()
    checkpoints.close()
    step = int(state.step)
    finished = step >= steps
    log.write("end" if finished else "stop", {"step": step, "seconds": time.time() - started})
    log.close()
    if not finished:
        print(f"{stop.signal}: saved step {step} of {steps}; the same command goes on from there.")
        return Run(step, False, workdir, errors)

    # ---- export and report
    best = load_for_inference(workdir / RUN_CHECKPOINTS)
    export = workdir / RUN_INFERENCE
    save_for_inference(export, best.variables, best.description, overwrite=True)
    write_report(config, workdir, data, best)
    print(f"Done: weights in {export}, report in {workdir / 'report.md'}.")
    return Run(step, True, workdir, errors)


def _first_variables(config, net):
    if not config.init_from:
        return net.initialize(config.seed)
    source = load_for_inference(config.init_from)
    if source.network is not net:
        raise ConfigurationError(
            f"config.init_from holds {source.model_name}, but the configuration is {net.name}'s."
        )
    return source.variables


def _require_finite(terms: dict[str, float], step: int, workdir: Path) -> None:
    broken = [name for name, value in terms.items() if not np.isfinite(value)]
    if broken:
        raise TrainingDiverged(
            f"The loss is not finite at step {step} ({', '.join(broken)}). The checkpoints in "
            f"{workdir} are from before; lower config.learning_rate or check the data set."
        )


def _validate(config, net, state: TrainState, data: TrainingData, workdir: Path, log: RunLog):
    step = int(state.step)
    result = validate(
        lambda pictures: predict(net, state.variables, pictures),
        data.validation,
        size=config.validation_size,
        rows=config.validation_rows,
    )
    sheet = make_sheet(result.rows)
    write_image(workdir / "sheets" / f"step_{step:06d}.jpg", sheet)
    log.scalars("validation", step, result.errors)
    log.picture("validation", step, sheet)
    tqdm.write(f"step {step}: SAD {result.errors['SAD']:.3f} on the validation split")
    return result.errors


class Progress:
    """A bar over the steps with the loss, pictures per second and the time left."""

    def __init__(self, first: int, steps: int, batch_size: int):
        self._bar = tqdm(total=steps, initial=first, unit="step", desc="Training")
        self._batch_size = batch_size
        self._times: list[float] = []

    def update(self, loss: float) -> None:
        """One step is done."""
        self._times = [*self._times[-20:], time.perf_counter()]
        self._bar.set_postfix_str(f"loss {loss:.4f}, {self.rate():.1f} pictures/s", refresh=False)
        self._bar.update()

    def rate(self) -> float:
        """Pictures per second over the last steps; 0 before there are two."""
        if len(self._times) < 2:
            return 0.0
        taken = self._times[-1] - self._times[0]
        return (len(self._times) - 1) * self._batch_size / taken

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
