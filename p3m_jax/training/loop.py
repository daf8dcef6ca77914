"""Trains from start to end: `train(config, workdir)`."""

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from p3m_jax.checkpoints.arrays import NotFinite
from p3m_jax.checkpoints.folder import RUN_CHECKPOINTS, RUN_INFERENCE
from p3m_jax.checkpoints.weights import load_for_inference, save_for_inference
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.inference.programs import predictor
from p3m_jax.input.pipeline import training_batches
from p3m_jax.losses import total_loss
from p3m_jax.models.network import Variables
from p3m_jax.pictures.images import write_image
from p3m_jax.runtime import distributed
from p3m_jax.storage import StrPath
from p3m_jax.storage.paths import user_path
from p3m_jax.text import say, shown
from p3m_jax.training.errors import TrainingDiverged
from p3m_jax.training.interrupt import StopRequest
from p3m_jax.training.log import RunLog, Silence, read_log
from p3m_jax.training.parsing import parse
from p3m_jax.training.progress import Progress
from p3m_jax.training.report import write_report
from p3m_jax.training.run_checkpoints import RunCheckpoints
from p3m_jax.training.run_folder import claim_run_folder, home_of_checkpoints, refuse_buckets
from p3m_jax.training.setup import Setup, set_up
from p3m_jax.training.start import check_start
from p3m_jax.training.state import TrainState
from p3m_jax.training.step import Batch, compile_step, make_train_step
from p3m_jax.training.validation import validate


class Outcome(NamedTuple):
    """The result of a run.

    Attributes:
      step: the total number of steps taken, including those before the run was resumed.
      finished: False if a signal stopped the run early.
      workdir: the folder that holds everything that the run wrote.
      errors: the mean errors of the last validation; empty if this call of `train` did not
        validate.
    """

    step: int
    finished: bool
    workdir: Path
    errors: dict[str, float]


def train(config: ConfigDict, workdir: StrPath) -> Outcome:
    """Trains as `config` says (see `configs/common.py`), or resumes the run in `workdir`.

    The run writes checkpoints, `log.jsonl`, TensorBoard events and validation sheets to `workdir`.
    At the end, it writes `report.md`, and exports the weights of the step with the lowest SAD on
    the validation split to `inference/`.

    The same configuration produces the same run, even if the run is interrupted and
    resumed: each batch depends only on the seed and the step number, and everything else that is
    needed to resume is in the checkpoint.

    With several processes (see `p3m_jax.runtime.distributed`), all of them call this function with
    the same configuration and a shared `workdir`. Only the first one writes files, except for
    checkpoints, which all processes write together.

    Raises:
      ConfigurationError: settings are invalid, or `config.init_from` is a checkpoint of another
        network.
      RunFolderError: `workdir` contains other files or a run with other settings, or another
        process trains in it.
      DataSetError: the data set is wrong or incomplete.
      CheckpointError: `config.init_from` is not a checkpoint.
      TrainingDiverged: a loss, a weight or an output is not finite.
    """
    refuse_buckets(workdir)
    workdir, started = user_path(workdir), time.time()
    settings, configuration = parse(config), config.to_dict()
    with contextlib.ExitStack() as stack:
        with distributed.first_in_turn("the run's folder"):
            home = home_of_checkpoints(settings.loop.checkpoint_directory, workdir)
            check_start(settings.init_from, settings.network, home / RUN_CHECKPOINTS)
            if distributed.is_first():
                stack.enter_context(claim_run_folder(workdir, configuration))
        setup, state = set_up(settings, workdir)
        checkpoints = RunCheckpoints(
            setup.checkpoints, setup.description, keep=settings.loop.keep_checkpoints
        )
        stack.callback(checkpoints.close)
        first = int(state.step)
        if _finished(workdir, first, setup.steps):
            say(
                f"This run is finished: it took all of its {setup.steps:,} steps. "
                f"{shown(_where_it_is(workdir))} To continue training, increase config.steps."
            )
            return Outcome(first, True, workdir, {})
        log = (
            RunLog(workdir, first, synthetic=setup.synthetic)
            if distributed.is_first()
            else Silence()
        )
        stack.callback(log.close)
        log.write("start", {"step": first, "steps": setup.steps, "config": configuration})
        stop = stack.enter_context(StopRequest())
        state, errors, stopped_by = _take_steps(setup, state, checkpoints, log, stop)
        checkpoints.close()
        step = int(state.step)
        if step < setup.steps:
            log.write("stop", {"step": step, "seconds": time.time() - started})
            say(
                f"{stopped_by}: saved step {step} of {setup.steps}; run the same command again to "
                "resume."
            )
            return Outcome(step, False, workdir, errors)
        # If the user lowered `config.steps` to the step of the last checkpoint, that step was not
        # validated yet. Only the first process has the log.
        scored = step in [line["step"] for line in read_log(workdir, "validation")]
        if not distributed.gather([scored])[0]:
            errors = _validate(setup, state, log)
        log.write("end", {"step": step, "seconds": time.time() - started})
        _export(setup, log, step)
        return Outcome(step, True, workdir, errors)


def _take_steps(
    setup: Setup,
    state: TrainState,
    checkpoints: RunCheckpoints,
    log: RunLog | Silence,
    stop: StopRequest,
) -> tuple[TrainState, dict[str, float], str | None]:
    """Trains from the state's step to the last one, or until a signal requests a stop.

    Returns the state, the errors of the last validation, and the signal's name or None.
    """
    settings, workdir, steps, first = setup.settings, setup.workdir, setup.steps, int(state.step)
    loop = settings.loop
    batches = _batches(setup, first)
    errors: dict[str, float] = {}
    stopping = None
    with contextlib.closing(Progress(first, steps, settings.step.batch_size)) as progress:
        batch = next(batches) if first < steps else None
        for step in range(first + 1, steps + 1):
            # There are two programs, with and without pasting; each is compiled when needed.
            assert batch is not None  # there is one for every step
            if step in (first + 1, setup.pasting_from + 1):
                take_step = _compiled(setup, state, batch, pasting=step > setup.pasting_from)
            state, terms = take_step(state, batch)
            if step < steps:
                batch = next(batches)  # prepared while the devices compute this step
            terms = {name: float(value) for name, value in jax.device_get(terms).items()}
            _require_finite(terms, step, workdir)
            progress.update(terms["total"])
            if step % loop.log_every == 0 or step == steps:
                log.scalars("step", step, {**terms, "pictures_per_second": progress.rate()})
            stopping = stop.at(step)
            if step % loop.validate_every == 0 or step == steps:
                errors = _validate(setup, state, log)
                _save(checkpoints, state, workdir, errors)
                progress.pause()
            elif step % loop.checkpoint_every == 0 or stopping:
                _save(checkpoints, state, workdir)
                progress.pause()
            if stopping:
                break
    return state, errors, stopping


def _batches(setup: Setup, first: int) -> Iterator[Batch]:
    """Returns an iterator over the batches of the steps after `first`, placed on the devices."""
    settings, data = setup.settings, setup.data
    batches = training_batches(
        data.train,
        batch_size=settings.step.batch_size,
        crop_sizes=settings.crop_sizes,
        output_size=settings.output_size,
        seed=settings.seed,
        start_step=first,
        composition=settings.data.composition,
        obfuscation=data.obfuscation,
        pasting=find_pasting(
            data.copy_paste, data.train.examples, seed=settings.seed, obfuscation=data.obfuscation
        ),
        shard=(jax.process_index(), jax.process_count()),
    )
    return map(setup.places.batch, batches)


def _compiled(setup: Setup, state: TrainState, batch: Batch, *, pasting: bool) -> Any:
    """Compiles the step, with or without pasting among features, and prints how long it took."""
    settings, wanted = setup.settings, setup.settings.step
    started = time.time()
    if distributed.is_first():
        which = "that pastes faces" if pasting else "of this run"
        say(f"Compiling the training step {which}: one to four minutes on a CPU ...")
    step = make_train_step(
        setup.network,
        setup.optimizer,
        seed=settings.seed if wanted.stochastic_depth else None,
        loss=functools.partial(total_loss, weights=wanted.weights),
        paste=settings.copy_paste.features if pasting and settings.copy_paste else None,
        average_decay=wanted.average_decay,
        computing=wanted.computing,
    )
    compiled = compile_step(step, state, batch, (setup.where, setup.places.everywhere))
    # Otherwise a device could time out while another process still compiles.
    distributed.wait_for_all("compiled")
    if distributed.is_first():
        say(f"Compiled in {time.time() - started:.0f} s.")
    return compiled


def _export(setup: Setup, log: RunLog | Silence, step: int) -> None:
    """Exports the best step's weights and writes the report."""
    workdir = setup.workdir
    best = load_for_inference(setup.checkpoints)
    save_for_inference(workdir / RUN_INFERENCE, best.variables, best.description, overwrite=True)
    write_report(setup, best)
    log.write("report", {"step": step})
    distributed.wait_for_all("exported")  # by the first process
    say(f"Done. {shown(_where_it_is(workdir))}")


def _finished(workdir: Path, step: int, steps: int) -> bool:
    """Returns True if the run at `step` has taken all `steps` and written its report and weights.

    The first process decides for all.
    """
    there = (workdir / "report.md").exists() and (workdir / RUN_INFERENCE).is_dir()
    reported = there and step in [line["step"] for line in read_log(workdir, "report")]
    return distributed.gather([step == steps and reported])[0]


def _where_it_is(workdir: Path) -> str:
    return f"The weights are in {workdir / RUN_INFERENCE}, the report in {workdir / 'report.md'}."


def _require_finite(terms: dict[str, float], step: int, workdir: Path) -> None:
    broken = [name for name, value in terms.items() if not np.isfinite(value)]
    if broken:
        raise TrainingDiverged(
            f"Not finite at step {step}: {', '.join(broken)}. The checkpoints in {workdir} are "
            "from earlier steps. Check the data set, or start again in another --workdir with a "
            "lower config.learning_rate."
        )


def _save(
    checkpoints: RunCheckpoints,
    state: TrainState,
    workdir: Path,
    errors: dict[str, float] | None = None,
) -> None:
    """Saves the state; raises `TrainingDiverged` if it is not finite.

    Checking the loss is not enough: it is computed from the weights before the step.
    """
    try:
        checkpoints.save(state, errors)
    except NotFinite as error:
        _require_finite({str(error): np.nan}, int(state.step), workdir)


def _validate(setup: Setup, state: TrainState, log: RunLog | Silence) -> dict[str, float]:
    """Validates the state; returns the mean errors, and writes a sheet to the run's folder."""
    loop, step = setup.settings.loop, int(state.step)
    weights = state.average if loop.validate_average else state.parameters
    assert weights is not None  # a run that validates the average keeps it
    variables = setup.places.local(Variables(weights, state.statistics))
    result = validate(
        predictor(setup.network, variables),
        setup.data.validation,
        read=setup.data.read,
        size=loop.validation_size,
        rows=loop.validation_rows,
    )
    if distributed.is_first():
        sheet = make_sheet(result.rows)
        write_image(setup.workdir / "sheets" / f"step_{step:06d}.jpg", sheet)
        log.scalars("validation", step, result.errors)
        log.picture("validation", step, sheet)
    tqdm.write(f"step {step}: SAD {result.errors['SAD']:.3f} on the validation split")
    return result.errors
