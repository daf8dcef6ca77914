"""Measures the cost of P3M-FCP: compares a training step with a paste to the plain step.

    python benchmarks/copy_paste.py --size 512 --batch 8 [--networks swin] [--json FILE]
    python benchmarks/copy_paste.py --size 256 --batch 2 --networks swin --layers stem --runs 5

There is one row for each choice of layers. Programs are compiled, and run only if --runs is given;
then runs of the two programs alternate, and times are medians. The columns are:

- the step's additional FLOPs, and their ratio to the FLOPs of the plain step;
- the FLOPs of the source branch (shrinking source pictures and passing them through the leading
  layers), as a fraction of those of the target's own leading layers, forward;
- the FLOPs of the whole paste, as the same kind of fraction;
- the step's additional temporary memory.

XLA counts the contents of a loop once. So the FLOPs of ViTAE-S are those of programs whose
attention does not use a loop, while the memory is that of the programs as they run. Unless the
programs are to run, they are compiled without the CPU compiler's own optimisations. These change
neither figure and take most of the time.
"""

import statistics
import time
from unittest import mock

import command_line as cli
import jax
import numpy as np
from our_program import find_network

from p3m_jax.configs import common
from p3m_jax.copy_paste.feature import FeaturePaste, shrink
from p3m_jax.models.ops import attention
from p3m_jax.training.state import initial_state, make_optimizer
from p3m_jax.training.step import make_train_step

QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
CHOICES = ("stem", "level0", "stage1", "stage2", "stem,stage1")


def make_batch(size: int, batch: int, sources: int, source_size: int) -> dict[str, np.ndarray]:
    """Makes a batch of noise in which half of the examples get a face."""
    rng = np.random.default_rng(0)
    shape, source_shape = (batch, size, size), (sources, source_size, source_size)
    matrix = np.float32([[1, 0, 0], [0, 1, 0]]) * source_size / size
    return {
        **{
            name: rng.integers(0, 256, (*shape, 3), np.uint8)
            for name in ("picture", "foreground", "background")
        },
        "matte": rng.integers(0, 256, (*shape, 1), np.uint8),
        "trimap": rng.choice(np.uint8([0, 128, 255]), (*shape, 1)),
        "facemask": np.full((*shape, 1), 255, np.uint8),
        "paste": np.arange(batch) % 2 == 0,
        "paste_matrix": np.stack([matrix] * batch),
        "source": rng.integers(0, 256, (*source_shape, 3), np.uint8),
        "source_mask": np.full((*source_shape, 1), 255, np.uint8),
    }


class Programs:
    """The compiled programs of one network for one batch size."""

    def __init__(self, name: str, batch, *, to_run: bool):
        self.net, self.optimizer = (
            find_network(name),
            make_optimizer(common.recipe(name).learning_rate),
        )
        self.batch = batch
        self.state = initial_state(self.net, self.optimizer, self.net.initialize(0))
        self._options = {} if to_run else QUICKLY
        self._loops = name == "vitae_s"

    def step(self, paste: FeaturePaste | None):
        """The compiled step, and its FLOPs."""
        step = jax.jit(make_train_step(self.net, self.optimizer, paste=paste))
        return self._compile(step, self.state, self.batch)

    def leading_layers(self, layers, pictures: np.ndarray):
        """The compiled forward pass through the layers up to the last of `layers`."""
        run = jax.jit(lambda v, x: self.net.features(v, x, layers))
        return self._compile(run, self.state.variables, pictures)

    def source_branch(self, layers):
        """The compiled source branch: shrinking the source pictures, and their leading layers."""

        @jax.jit
        def run(variables, pictures, masks, factor):
            pictures, masks = shrink(pictures, masks, factor)
            return self.net.features(variables, pictures, layers), masks

        arrays = self.batch["source"], self.batch["source_mask"], np.float32(0.5)
        return self._compile(run, self.state.variables, *arrays)

    def _compile(self, function, *arguments):
        compiled = function.lower(*arguments).compile(compiler_options=self._options)
        flops = compiled.cost_analysis()["flops"]
        if self._loops and "while" in compiled.as_text():
            jax.clear_caches()  # otherwise the next trace would not read SCORES again
            with mock.patch.object(attention, "SCORES", 2**40):
                again = function.lower(*arguments).compile(compiler_options=QUICKLY)
            jax.clear_caches()
            flops = again.cost_analysis()["flops"]
        return compiled, flops


def compare(programs: Programs, plain, layers: tuple[str, ...], runs: int) -> dict:
    """Makes one row of the table."""
    plain_step, plain_flops = plain
    step, flops = programs.step(FeaturePaste(layers))
    _, forward = programs.leading_layers(layers, programs.batch["picture"])
    _, source = programs.source_branch(layers)
    extra = flops - plain_flops
    row = {
        "network": programs.net.name,
        "layers": ",".join(layers),
        "plain_flops": plain_flops,
        "extra_flops": extra,
        "extra_over_step": extra / plain_flops,
        "source_over_leading": source / forward,
        "extra_over_leading": extra / forward,
        "extra_bytes": step.memory_analysis().temp_size_in_bytes
        - plain_step.memory_analysis().temp_size_in_bytes,
    }
    if runs:
        times = {"plain": [], "paste": []}
        for _ in range(runs + 1):
            for name, program in (("plain", plain_step), ("paste", step)):
                start = time.perf_counter()
                jax.block_until_ready(program(programs.state, programs.batch))
                times[name].append(time.perf_counter() - start)
        plain_time, paste_time = (statistics.median(t[1:]) for t in times.values())
        row |= {"plain_seconds": plain_time, "extra_seconds": paste_time - plain_time}
    return row


def main(argv: list[str] | None = None) -> None:
    """Prints the table; also writes it as JSON if asked."""
    parser = cli.options_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(cli.NETWORKS))
    parser.add_argument(
        "--layers", nargs="+", default=CHOICES, help="choices of layers, each with commas"
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--source-size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=0)
    quick = {
        "networks": [cli.SMALL],
        "layers": ["stage2"],
        "size": 32,
        "batch": 2,
        "source_size": 64,
    }
    args = cli.parse(parser, argv, **quick)

    print(
        f"{args.batch} pictures of {args.size} x {args.size}, {args.sources} source(s) of "
        f"{args.source_size} x {args.source_size}; jax {jax.__version__} on "
        f"{jax.devices()[0].platform}"
    )
    fractions = "of the step", "source branch / leading layers", "all / leading layers"
    times = ("extra s", "plain s") if args.runs else ()
    table = cli.Table("network", "layers", "extra GFLOP", *fractions, "extra temporary MB", *times)
    batch = make_batch(args.size, args.batch, args.sources, args.source_size)
    rows = []
    for name in args.networks:
        programs = Programs(name, batch, to_run=bool(args.runs))
        plain = programs.step(None)
        for choice in args.layers:
            layers = tuple(choice.split(","))
            if not set(layers) <= set(programs.net.layers):
                continue
            row = compare(programs, plain, layers, args.runs)
            rows.append(row)
            seconds = (
                f"{row[key]:.3f}" for key in ("extra_seconds", "plain_seconds") if key in row
            )
            table.row(
                name,
                choice,
                f"{row['extra_flops'] / 1e9:.2f}",
                f"{row['extra_over_step']:.2%}",
                f"{row['source_over_leading']:.2%}",
                f"{row['extra_over_leading']:.2%}",
                cli.megabytes(row["extra_bytes"]),
                *seconds,
            )
    cli.write_report(args, rows)


if __name__ == "__main__":
    main()
