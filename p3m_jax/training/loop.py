"""A training run from start to end: `train(config, workdir)`."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

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
from p3m_jax.models.network import Variables
from p3m_jax.pictures.images import write_image
from p3m_jax.runtime import distributed
from p3m_jax.text import say, shown
from p3m_jax.training.errors import TrainingDiverged
from p3m_jax.training.interrupt import StopRequest
from p3m_jax.training.log import RunLog, Silence, read_log
from p3m_jax.training.progress import Progress
from p3m_jax.training.report import write_report
from p3m_jax.training.run_checkpoints import RunCheckpoints
from p3m_jax.training.run_folder import claim_run_folder, home_of_checkpoints, refuse_buckets
from p3m_jax.training.settings import check_settings, computing
from p3m_jax.training.setup import Setup, set_up
from p3m_jax.training.start import check_start
from p3m_jax.training.state import TrainState
from p3m_jax.training.step import compile_step, make_train_step
from p3m_jax.training.validation import validate


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      step: the number of steps taken, over all starts.
      finished: False if a signal stopped it early.
      workdir: holds everything it wrote.
      errors: the mean errors on the validation split at the last step; empty if this start did not
        measure them.
    """

    step: int
    finished: bool
    workdir: Path
    errors: dict[str, float]


def train(config: ConfigDict, workdir) -> Outcome:
    """Trains as `config` says (see `configs/common.py`), or resumes the run in `workdir`.

    Writes checkpoints, `log.jsonl`, TensorBoard events and validation sheets into `workdir` on the
    way, and at the end the exported weights of the step with the least SAD on the validation split
    (`inference/`) and `report.md`. The same configuration gives the same run: batches follow from
    (seed, step), and a checkpoint holds everything else that is needed to resume.

    With several processes (see `p3m_jax.runtime.distributed`) all of them call this with the same
    configuration and a shared `workdir`. Only the first one writes, except for checkpoints.

    Raises:
      ConfigurationError: settings that cannot work, or `config.init_from` holds another network.
      RunFolderError: `workdir` holds something else, or another process trains in it.
      DataSetError: the data set is wrong or incomplete.
      CheckpointError: `config.init_from` is no checkpoint.
      TrainingDiverged: a loss, a weight or an output is not finite.
    """
    refuse_buckets(workdir)
    workdir, started = Path(workdir), time.time()
    check_settings(config)
    with contextlib.ExitStack() as stack:
        with distributed.first_in_turn("the run's folder"):
            check_start(config, home_of_checkpoints(config, workdir) / RUN_CHECKPOINTS)
            if distributed.is_first():
                stack.enter_context(claim_run_folder(workdir, config))
        setup, state = set_up(config, workdir)
        checkpoints = RunCheckpoints(
            setup.checkpoints, setup.description, keep=config.keep_checkpoints
        )
        stack.callback(checkpoints.close)
        first = int(state.step)
        if _finished(workdir, first, setup.steps):
            say(
                f"This run is finished: it took all of its {setup.steps:,} steps. "
                f"{shown(_where_it_is(workdir))} To train on, set config.steps to more."
            )
            return Outcome(first, True, workdir, {})
        log = RunLog(workdir, first, synthetic=setup.synthetic) if _writes() else Silence()
        stack.callback(log.close)
        log.write("start", {"step": first, "steps": setup.steps, "config": config.to_dict()})
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
        # Where `steps` was lowered to this step it was not validated; the first wrote the log.
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
    """Trains from the state's step to the last one, or until a signal asks it to stop.

    Returns the state, the errors of the last validation, and the name of the signal, if one came.
    """
    config, workdir, steps, first = setup.config, setup.workdir, setup.steps, int(state.step)
    batches = _batches(setup, first)
    errors: dict[str, float] = {}
    stopping = None
    with contextlib.closing(Progress(first, steps, config.batch_size)) as progress:
        batch = next(batches) if first < steps else None
        for step in range(first + 1, steps + 1):
            # Two programs, with and without pasting; each is compiled when it is first needed.
            if step in (first + 1, setup.pasting_from + 1):
                take_step = _compiled(setup, state, batch, pasting=step > setup.pasting_from)
            state, terms = take_step(state, batch)
            if step < steps:
                batch = next(batches)  # while the devices work on this one
            terms = {name: float(value) for name, value in jax.device_get(terms).items()}
            _require_finite(terms, step, workdir)
            progress.update(terms["total"])
            if step % config.log_every == 0 or step == steps:
                log.scalars("step", step, {**terms, "pictures_per_second": progress.rate()})
            stopping = stop.at(step)
            if step % config.validate_every == 0 or step == steps:
                errors = _validate(setup, state, log)
                _save(checkpoints, state, workdir, errors)
                progress.pause()
            elif step % config.checkpoint_every == 0 or stopping:
                _save(checkpoints, state, workdir)
                progress.pause()
            if stopping:
                break
    return state, errors, stopping


def _batches(setup: Setup, first: int):
    """The batches of the steps after `first`, on the devices."""
    config, data = setup.config, setup.data
    batches = training_batches(
        data.train,
        batch_size=config.batch_size,
        crop_sizes=tuple(config.data.crop_sizes),
        output_size=config.data.output_size,
        seed=config.seed,
        start_step=first,
        composition=config.loss.composition,
        obfuscation=data.obfuscation,
        pasting=find_pasting(
            data.copy_paste, data.train.examples, seed=config.seed, obfuscation=data.obfuscation
        ),
        shard=(jax.process_index(), jax.process_count()),
    )
    return map(setup.places.batch, batches)


def _compiled(setup: Setup, state: TrainState, batch, *, pasting: bool):
    """The compiled step, with pasting among features or without; says how long it took."""
    config = setup.config
    started = time.time()
    if _writes():
        which = "that pastes faces" if pasting else "of this run"
        say(f"Compiling the training step {which}: one to four minutes on a CPU ...")
    step = make_train_step(
        setup.network,
        setup.optimizer,
        seed=config.seed if config.stochastic_depth else None,
        paste=setup.paste if pasting else None,
        average_decay=config.average_decay,
        computing=computing(config),
    )
    compiled = compile_step(step, state, batch, (setup.where, setup.places.everywhere))
    distributed.gather([])  # devices do not wait for each other as long as compilers may take
    if _writes():
        say(f"Compiled in {time.time() - started:.0f} s.")
    return compiled


def _writes() -> bool:
    return distributed.is_first()


def _export(setup: Setup, log: RunLog | Silence, step: int) -> None:
    """Exports the best step's weights and writes the report."""
    workdir = setup.workdir
    best = load_for_inference(setup.checkpoints)
    save_for_inference(workdir / RUN_INFERENCE, best.variables, best.description, overwrite=True)
    write_report(setup.config, workdir, setup.data, best)
    log.write("report", {"step": step})
    distributed.gather([])  # none leaves before the first has written everything
    say(f"Done. {shown(_where_it_is(workdir))}")


def _finished(workdir: Path, step: int, steps: int) -> bool:
    """Whether a run at `step` has written everything, as the first process sees it."""
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
            "from before. Check the data set, or start in another --workdir with a lower "
            "config.learning_rate."
        )


def _save(checkpoints: RunCheckpoints, state: TrainState, workdir: Path, errors=None) -> None:
    """Saves a state if it is finite: the loss shows only the weights of the step before."""
    try:
        checkpoints.save(state, errors)
    except NotFinite as error:
        _require_finite({str(error): np.nan}, int(state.step), workdir)


def _validate(setup: Setup, state: TrainState, log: RunLog | Silence) -> dict[str, float]:
    """The mean errors on the validation split, with a sheet of mattes in the run's folder."""
    config, step = setup.config, int(state.step)
    weights = state.average if config.average_weights else state.parameters
    variables = setup.places.local(Variables(weights, state.statistics))
    result = validate(
        predictor(setup.network, variables),
        setup.data.validation,
        read=setup.data.read,
        size=config.validation_size,
        rows=config.validation_rows,
    )
    if _writes():
        sheet = make_sheet(result.rows)
        write_image(setup.workdir / "sheets" / f"step_{step:06d}.jpg", sheet)
        log.scalars("validation", step, result.errors)
        log.picture("validation", step, sheet)
    tqdm.write(f"step {step}: SAD {result.errors['SAD']:.3f} on the validation split")
    return result.errors
