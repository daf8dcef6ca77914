"""`p3m predict`: mattes, cut-outs and composites of pictures."""

import argparse
import time
from collections import defaultdict
from pathlib import Path

from p3m_jax.commands.collecting import (
    add_machine,
    add_share,
    add_writing,
    prepare,
    say_what_is_missing,
    say_why_it_ended,
    time_taken,
)
from p3m_jax.commands.options import add_compilation_cache, add_output
from p3m_jax.text import counted, say, shown, warn

HELP = "matte pictures: alpha, cut-outs, foregrounds, composites"

NO_WEIGHTS = (
    "Name trained weights with --checkpoint: the read-mes of github.com/JizhiziLi/P3M and "
    "github.com/ViTAE-Transformer/P3M-Net name the authors' files (ResNet-34 and ViTAE-S were "
    "published, Swin-T never was), and `p3m import FILE -o DIR` turns one into a checkpoint; or "
    "name mattes that are there already with --alphas."
)

EXAMPLES = """\
The mattes of a folder of photos, its tree mirrored in mattes/alpha:
  p3m predict photos -o mattes --checkpoint weights
Cut-outs with transparency, and the person over green:
  p3m predict photos -o cut --checkpoint weights --save cutout composite --background '#00b140'
The own background out of focus, as JPEG:
  p3m predict me.jpg -o out --checkpoint weights --save composite --background blur --format jpg
Cut-outs from mattes that are there, such as those of the first example, touched up:
  p3m predict photos -o cut --alphas mattes/alpha --save cutout

The output folder gets a folder for each kind of output and manifest.jsonl, a line for each picture:
input and its SHA-256, settings, weights, sizes, seconds, share of transition, warnings, outputs.
Run the same command again to resume. Nothing is overwritten without --overwrite.

Pictures that are transparent in parts stay so; the network sees these parts white. Of animations
the first frame is matted. CMYK and grey become sRGB by their colour profile; RGB keeps its profile.
Colours that are told otherwise (Adobe RGB in EXIF data, numbers in PNG and AVIF files) get one.

HEIC is read with the extra that does: python -m pip install -e ".[heif]". Cameras' raw files are
not read but listed as failures. What else folders hold is left out, counted and named.

Exit code: 0 done, 1 something could not be done (the end of the output says what), 2 wrong options,
130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from p3m_jax.jobs.plan import FORMATS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures and folders of them")
    mattes = parser.add_argument_group("where the mattes come from (one of)")
    mattes.add_argument(
        "--checkpoint", metavar="PATH", help="an inference or training checkpoint, or a run"
    )
    mattes.add_argument(
        "--alphas",
        metavar="DIR",
        help="mattes that are there already, in the tree and with the names of the pictures",
    )
    how = parser.add_argument_group("how the network runs")
    how.add_argument(
        "--strategy",
        choices=("resize", "hybrid", "native"),
        help="hybrid: the person from half size, the hair from full size, the authors' advice for "
        "single pictures (default); resize: once at half size, in a fourth to a fifth of the time "
        "and a fourth of the memory, finest hair is lost; native: once at full size, as slow as "
        "hybrid, and large people get holes",
    )
    how.add_argument(
        "--exact-sizes",
        action="store_true",
        help="run at each picture's own size, as evaluation does, and compile for each; otherwise "
        "in the nearest of a few frames, in the picture's own shape (docs/matting.md)",
    )
    out = parser.add_argument_group("output")
    add_output(out, "folder for the outputs")
    out.add_argument(
        "--save",
        nargs="+",
        action="extend",
        type=_kind,
        metavar="KIND",
        help="alpha: the matte (default); cutout: RGBA with straight alpha and estimated colours; "
        "foreground, background: the estimates alone; composite: the person over --background",
    )
    out.add_argument(
        "--background",
        metavar="WHAT",
        help="for composites: a colour ('#30c040', 48,192,64, teal), a picture (cropped to cover), "
        "or blur",
    )
    out.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="of colour outputs (default: png); alpha is always PNG, a cut-out never JPEG",
    )
    out.add_argument("--alpha-bits", type=int, choices=(8, 16), default=8, help="default: 8")
    out.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep EXIF data in colour outputs. It may tell the place (GPS), the time and the "
        "camera's owner; without this option all of it is left out, but never the colour profile",
    )
    add_writing(out)
    machine = parser.add_argument_group("the machine")
    add_machine(
        machine,
        threads="decode",
        memory="for all of it, on a CPU the network, too: where a picture would need more, the "
        "network runs smaller, with a warning",
    )
    add_compilation_cache(machine)
    add_share(machine, last="merges their manifests")


def _kind(text: str) -> str:
    from p3m_jax.jobs.plan import MATTING_KINDS

    if text not in MATTING_KINDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(MATTING_KINDS)}; pictures and folders are named "
            "before --save, or after --"
        )
    return text


def run(args: argparse.Namespace) -> int:
    """Mattes; returns the exit code, and raises what the command line shows in one sentence."""
    problem = _misuse(args)
    if problem:
        warn(problem)
        return 2
    from p3m_jax.data.folders import user_path
    from p3m_jax.jobs.manifest import open_manifest
    from p3m_jax.jobs.memory import BASE
    from p3m_jax.jobs.plan import check_given, make_plan
    from p3m_jax.prediction.outputs import Writing, check_background, ending, find_background
    from p3m_jax.runtime.machine import default_memory

    kinds = tuple(dict.fromkeys(args.save or ("alpha",)))
    memory = args.max_memory or default_memory()
    if memory < 1.5 * BASE:
        warn(f"--max-memory: {1.5 * BASE / 1e9:.1f} at least.")
        return 2
    output = user_path(args.output)
    plan = make_plan(
        map(user_path, args.inputs),
        output,
        {kind: ending(kind, args.format) for kind in kinds},
        full_names=args.full_names,
    )
    background = find_background(args.background) if args.background else None
    mattes = user_path(args.alphas) if args.alphas else None
    if mattes is not None:
        check_given(plan, output, mattes, kind="alpha", what="mattes")
    if background is not None:
        check_background(plan, output, background)
    writing = Writing(
        background=background,
        quality=args.quality,
        deep_alpha=args.alpha_bits == 16,
        keep_metadata=args.keep_metadata,
    )
    jobs = plan.jobs if args.share is None else args.share.of(plan.jobs)
    prepare(plan)
    started = time.monotonic()
    work, made_by, matting = _work(args, mattes, memory, writing)
    settings = {kind: writing.settings(kind, args.format) | made_by for kind in kinds}
    with open_manifest(output, jobs, args.share) as manifest:
        if not args.overwrite:
            manifest.check(jobs, settings)
        from p3m_jax.jobs.run import Run

        outcome = Run(
            manifest,
            settings,
            work,
            memory=memory,
            workers=args.workers,
            overwrite=args.overwrite,
        ).start(jobs)
        if outcome.stopped is None:
            manifest.close(jobs)
    seconds = time.monotonic() - started
    _summarise(outcome, len(jobs), output, seconds, matting)
    closed = say_what_is_missing(plan)
    if outcome.interrupted:
        return 130
    return int(bool(outcome.failed or outcome.stopped or closed))


def _misuse(args: argparse.Namespace) -> str | None:
    if args.checkpoint is None and args.alphas is None:
        return NO_WEIGHTS
    named = (*args.inputs, args.output, args.checkpoint, args.alphas, args.background)
    if "" in named:  # which Python takes for the current folder
        return "There is an empty name among the options; a variable may be unset."
    if args.checkpoint and args.alphas:
        return "Name one of --checkpoint and --alphas."
    if args.alphas and (args.strategy or args.exact_sizes):
        return "--strategy and --exact-sizes go with --checkpoint; --alphas are used as read."
    kinds = args.save or ["alpha"]
    if ("composite" in kinds) != bool(args.background):
        return "--save composite and --background go together."
    if args.alpha_bits == 16 and "alpha" not in kinds:
        return "--alpha-bits goes with --save alpha."
    if args.keep_metadata and kinds == ["alpha"]:
        return "--keep-metadata goes with colour outputs; alpha never has any."
    if args.quality > 100:
        return "--quality is at most 100."
    return None


def _work(args, mattes: Path | None, memory: int, writing):
    """What is done to each picture, the settings that mattes depend on, the network if any."""
    from p3m_jax.prediction.work import MattingWork

    if mattes is not None:
        from p3m_jax.jobs.plan import PlanError

        if not mattes.is_dir():
            raise PlanError(f"{mattes}: there is no such folder; name the folder of mattes.")
        return MattingWork(writing, mattes=mattes), {"mattes": "given"}, None
    from p3m_jax.runtime.compilation import keep_compiled, settle

    warning = keep_compiled(args.compilation_cache)
    if warning:
        warn(warning)
    from p3m_jax.inference.matting import identify, load
    from p3m_jax.prediction.mattes import by_network

    matting = load(args.checkpoint)
    settle()
    strategy = args.strategy or "hybrid"
    settings = {
        "strategy": strategy,
        "exact_sizes": args.exact_sizes,
        "checkpoint": identify(matting.checkpoint),
    }
    make_matte = by_network(matting, strategy=strategy, exact_sizes=args.exact_sizes, memory=memory)
    weights = matting.checkpoint
    notes = {"synthetic": weights.synthetic, "provenance": weights.provenance}
    return MattingWork(writing, make_matte=make_matte, notes=notes), settings, matting


def _summarise(outcome, total: int, output: Path, seconds: float, matting) -> None:
    from p3m_jax.jobs.plan import MANIFEST

    kinds = defaultdict(list)
    for file, sentence in outcome.warnings:
        kinds[sentence].append(file)
    for sentence, files in kinds.items():
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        warn(f"Warning: {sentence}: {', '.join(map(str, files[:5]))}{more}")
    for _, reason in outcome.failed:
        warn(f"Failed: {reason}")
    if matting is not None and matting.checkpoint.synthetic:
        warn("The weights come from synthetic portraits: no model for real ones.")
    text = (
        f"{counted(total, 'picture')}: {outcome.done} done, {outcome.skipped} already done, "
        f"{len(outcome.failed)} failed, {len({file for file, _ in outcome.warnings})} with "
        f"warnings; {time_taken(outcome, seconds)}"
    )
    if outcome.done and matting is not None:
        text += f" ({matting.compiled} programs)"
    say(f"{text}.\nIn {shown(output)}; {MANIFEST} has a line for each picture.")
    say_why_it_ended(outcome, total)
