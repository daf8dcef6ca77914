"""A training run from start to end: `train(config, workdir)`."""

import contextlib
import functools
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from p3m_jax.checkpoints.arrays import NotFinite
from p3m_jax.checkpoints.folder import RUN_CHECKPOINTS, RUN_INFERENCE
from p3m_jax.checkpoints.weights import describe, load_for_inference, predict, save_for_inference
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.evaluation.sheet import make_sheet
from p3m_jax.input.pipeline import training_batches
from p3m_jax.models.network import Network, Variables, network
from p3m_jax.pictures.images import write_image
from p3m_jax.runtime import distributed
from p3m_jax.runtime.compilation import return_memory
from p3m_jax.text import say, shown
from p3m_jax.training.data import TrainingData, describe_faces, prepare_data
from p3m_jax.training.errors import TrainingDiverged
from p3m_jax.training.feature_paste import feature_paste, start_step
from p3m_jax.training.interrupt import StopRequest
from p3m_jax.training.log import RunLog, Silence, read_log
from p3m_jax.training.report import write_report
from p3m_jax.training.run_checkpoints import RunCheckpoints, newest_whole
from p3m_jax.training.run_folder import (
    claim_data,
    claim_run_folder,
    home_of_checkpoints,
    refuse_buckets,
)
from p3m_jax.training.settings import check_settings, computing, keeps_average
from p3m_jax.training.sharding import Places
from p3m_jax.training.start import check_start, first_variables, past_of
from p3m_jax.training.state import TrainState, initial_state, make_optimizer
from p3m_jax.training.step import make_train_step
from p3m_jax.training.validation import validate


class Run(NamedTuple):
    """How a run ended.

    Attributes:
      step: the number of steps taken, over all starts.
      finished: False where a signal asked it to stop before.
      workdir: holds everything it wrote.
      errors: the mean errors on the validation split, where this start scored it last.
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
    workdir = Path(workdir)
    check_settings(config)
    with contextlib.ExitStack() as stack:
        with distributed.first_in_turn("the run's folder"):
            check_start(config, home_of_checkpoints(config, workdir) / RUN_CHECKPOINTS)
            if distributed.is_first():
                stack.enter_context(claim_run_folder(workdir, config))
        return _train(config, workdir, stack)


def _train(config: ConfigDict, workdir: Path, stack: contextlib.ExitStack) -> Run:
    started = time.time()

    # ---- data
    with distributed.first_in_turn("the data set"):
        data = prepare_data(config, workdir)
        home = home_of_checkpoints(config, workdir)
        claim_data(home, data.train, data.copy_paste)
    steps = config.steps or -(-config.epochs * len(data.train.examples) // config.batch_size)

    # ---- weights: the run's own latest, or another checkpoint's, or fresh ones
    net, optimizer = network(config.network), make_optimizer(config)
    places, paste = Places.of_all_devices(), feature_paste(config)
    folder = home / RUN_CHECKPOINTS
    first_state = functools.partial(initial_state, net, optimizer, average=keeps_average(config))
    shapes = jax.eval_shape(first_state, net.shapes)
    where = places.of_state(shapes, cut=config.shard_state)
    with distributed.first_in_turn("the run's checkpoints"):
        saved = newest_whole(folder, shapes)
    if saved:
        state = saved.placed(where)
        synthetic, past = saved.description["synthetic"], past_of(saved.description)
        say(f"Going on from step {int(state.step)} of {shown(home)}.")
    else:
        variables, synthetic, past = first_variables(config, net)
        state = jax.jit(first_state, out_shardings=where)(variables)
        del variables
    del saved
    synthetic = synthetic or data.synthetic

    # ---- step: two programs, of which its number picks one; each is compiled when it is needed
    def compile_step(paste, state, batch):
        started = time.time()
        if distributed.is_first():
            which = "that pastes faces" if paste else "of this run"
            say(f"Compiling the training step {which}: one to four minutes on a CPU ...")
        step = make_train_step(
            net,
            optimizer,
            seed=config.seed if config.stochastic_depth else None,
            paste=paste,
            average_decay=config.average_decay,
            computing=computing(config),
        )
        step = jax.jit(step, donate_argnums=0, out_shardings=(where, places.everywhere))
        compiled = step.lower(state, batch).compile()
        jax.clear_caches()  # what was traced for it, up to a quarter of a gigabyte
        return_memory()
        distributed.gather([])  # devices do not wait for each other as long as compilers may take
        if distributed.is_first():
            say(f"Compiled in {time.time() - started:.0f} s.")
        return compiled

    pasting_from = start_step(config, len(data.train.examples)) if paste else steps
    description = describe(
        net.name,
        weights="average" if config.average_weights else "parameters",
        synthetic=synthetic,
        provenance={
            "run": workdir.name,
            "data": data.train.name,
            "pictures": len(data.train.examples),
            "seed": config.seed,
            **describe_faces(config),
            **({"copy_paste": str(data.copy_paste)} if data.copy_paste else {}),
            **past,
        },
    )
    checkpoints = RunCheckpoints(folder, description, keep=config.keep_checkpoints)
    stack.callback(checkpoints.close)
    first = int(state.step)
    if _finished(workdir, first, steps):
        say(
            f"This run is finished: it took all of its {steps:,} steps. "
            f"{shown(_where_it_is(workdir))} To train on, set config.steps to more."
        )
        return Run(first, True, workdir, {})

    # ---- input
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

    def next_batch():
        return places.batch(next(batches))

    # ---- loop
    def chosen(state):
        """The weights that are validated, and exported in the end."""
        weights = state.average if config.average_weights else state.parameters
        return Variables(weights, state.statistics)

    log = RunLog(workdir, first, synthetic=synthetic) if distributed.is_first() else Silence()
    stack.callback(log.close)
    log.write("start", {"step": first, "steps": steps, "config": config.to_dict()})
    progress = Progress(first, steps, config.batch_size)
    stack.callback(progress.close)
    stop = stack.enter_context(StopRequest())
    errors: dict[str, float] = {}
    batch = next_batch() if first < steps else None
    for step in range(first + 1, steps + 1):
        if step in (first + 1, pasting_from + 1):
            take_step = compile_step(paste if step > pasting_from else None, state, batch)
        state, terms = take_step(state, batch)
        if step < steps:
            batch = next_batch()  # while the devices work on this one
        terms = {name: float(value) for name, value in jax.device_get(terms).items()}
        _require_finite(terms, step, workdir)
        progress.update(terms["total"])
        if step % config.log_every == 0 or step == steps:
            log.scalars("step", step, {**terms, "pictures_per_second": progress.rate()})
        stopping = stop.at(step)
        if step % config.validate_every == 0 or step == steps:
            errors = _validate(config, net, step, places.local(chosen(state)), data, workdir, log)
            _save(checkpoints, state, workdir, errors)
            progress.pause()
        elif step % config.checkpoint_every == 0 or stopping:
            _save(checkpoints, state, workdir)
            progress.pause()
        if stopping:
            break
    progress.close()
    checkpoints.close()
    step = int(state.step)
    if step < steps:
        log.write("stop", {"step": step, "seconds": time.time() - started})
        say(f"{stopping}: saved step {step} of {steps}; the same command goes on from there.")
        return Run(step, False, workdir, errors)
    scored = step in [line["step"] for line in read_log(workdir, "validation")]
    if not distributed.gather([scored])[0]:  # `steps` was lowered to here; the first wrote the log
        errors = _validate(config, net, step, places.local(chosen(state)), data, workdir, log)
    log.write("end", {"step": step, "seconds": time.time() - started})

    # ---- export and report
    best = load_for_inference(folder)
    save_for_inference(workdir / RUN_INFERENCE, best.variables, best.description, overwrite=True)
    write_report(config, workdir, data, best)
    log.write("report", {"step": step})
    distributed.gather([])  # none leaves before the first has written everything
    say(f"Done. {shown(_where_it_is(workdir))}")
    return Run(step, True, workdir, errors)


def _finished(workdir: Path, step: int, steps: int) -> bool:
    """Whether a run at `step` wrote all that it ends with; as the first process sees it."""
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
    """Saves a state of numbers: the loss shows only the weights of the step before."""
    try:
        checkpoints.save(state, errors)
    except NotFinite as error:
        _require_finite({str(error): np.nan}, int(state.step), workdir)


def _validate(
    config, net: Network, step: int, variables: Variables, data: TrainingData, workdir, log: RunLog
):
    result = validate(
        lambda pictures: predict(net, variables, pictures),
        data.validation,
        read=data.read,
        size=config.validation_size,
        rows=config.validation_rows,
    )
    if distributed.is_first():
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

    def pause(self) -> None:
        """Something else than steps has taken time, which does not count."""
        self._times = []

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
