"""`p3m predict`: writes mattes, cut-outs and composites of pictures."""

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p3m_jax.commands.collecting import (
    add_inputs,
    add_machine,
    add_share,
    add_writing,
    exit_code,
    find_pictures,
    memory_limit,
    prepare,
    run_jobs,
    say_what_is_missing,
    say_why_it_ended,
    time_taken,
)
from p3m_jax.commands.misuse import refuse
from p3m_jax.commands.options import add_compilation_cache, add_output
from p3m_jax.storage.paths import source_folder, user_path
from p3m_jax.text import counted, say, shown, warn

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.inference.matting import Matting
    from p3m_jax.jobs.work import JobOutcome
    from p3m_jax.prediction.outputs import Writing
    from p3m_jax.prediction.work import MattingWork

HELP = "predict mattes of pictures: alpha, cut-outs, foregrounds, composites"

NO_WEIGHTS = (
    "Name trained weights with --checkpoint, or existing mattes with --alphas. The read-mes of "
    "github.com/JizhiziLi/P3M and github.com/ViTAE-Transformer/P3M-Net link to the authors' "
    "weights of ResNet-34 and ViTAE-S (Swin-T was never published); `p3m import FILE -o DIR` "
    "converts such a file to a checkpoint."
)

EXAMPLES = """\
Write the mattes of a folder of photos to mattes/alpha, with the same subfolders:
  p3m predict photos -o mattes --checkpoint weights
Write cut-outs with transparency, and composites of the person over green:
  p3m predict photos -o cut --checkpoint weights --save cutout composite --background '#00b140'
Blur the picture's own background, and write JPEG:
  p3m predict me.jpg -o out --checkpoint weights --save composite --background blur --format jpg
Make cut-outs from existing mattes, such as those of the first example after retouching:
  p3m predict photos -o cut --alphas mattes/alpha --save cutout

The output folder receives a folder for each kind of output, and manifest.jsonl. The manifest has
one line for each picture: the input and its SHA-256, settings, weights, sizes, seconds, the
fraction of pixels in the transition area, warnings, and outputs.
Run the same command again to resume. Nothing is overwritten without --overwrite.

Transparent parts of a picture stay transparent; the network sees them as white. Only the first
frame of an animation is matted. CMYK and grey pictures are converted to sRGB by their colour
profile; RGB pictures keep their profile. Pictures that declare their colours in another way (Adobe
RGB in EXIF data, codes in PNG and AVIF files) get a profile.

Reading HEIC requires an extra: python -m pip install -e ".[heif]". Camera raw files are not read,
but listed as failures. Other files in the folders are skipped, counted and named.

Exit code: 0 done, 1 something failed (the end of the output says what), 2 wrong options,
130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from p3m_jax.jobs.plan import FORMATS

    add_inputs(parser, EXAMPLES)
    mattes = parser.add_argument_group("source of the mattes (exactly one)")
    mattes.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="an inference checkpoint, a training checkpoint, or a run's folder",
    )
    mattes.add_argument(
        "--alphas",
        metavar="DIR",
        help="folder of existing mattes, with the same subfolders and file names as the pictures",
    )
    how = parser.add_argument_group("how the network runs")
    how.add_argument(
        "--strategy",
        choices=("resize", "hybrid", "native"),
        help="hybrid: finds the person at half size and the hair at full size, as the authors "
        "advise for single pictures (default). resize: runs once at half size, which takes about "
        "a fifth of the time (a tenth with ViTAE-S) and half of the memory, but loses the finest "
        "hair. native: runs once at full size; it is as slow as hybrid, and the mattes of large "
        "people may have holes",
    )
    how.add_argument(
        "--exact-sizes",
        action="store_true",
        help="run at each picture's own size, as evaluation does; every new size is compiled. "
        "Without this option, a picture is scaled and padded to the nearest of a few sizes, and "
        "keeps its aspect ratio (docs/matting.md)",
    )
    out = parser.add_argument_group("output")
    add_output(out, "folder for the outputs")
    out.add_argument(
        "--save",
        nargs="+",
        action="extend",
        type=_kind,
        metavar="KIND",
        help="one or more of: alpha, the matte (default); cutout, RGBA with straight alpha and "
        "estimated colours; foreground and background, only the estimated colours; composite, the "
        "person over --background",
    )
    out.add_argument(
        "--background",
        metavar="WHAT",
        help="background of composites: a colour ('#30c040', 48,192,64, teal), a picture (scaled "
        "and cropped to fit), or blur",
    )
    out.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="format of colour outputs (default: png). Alpha is always PNG; cut-outs are not JPEG",
    )
    out.add_argument(
        "--alpha-bits", type=int, choices=(8, 16), default=8, help="bit depth of alpha (default: 8)"
    )
    out.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep EXIF data in colour outputs. It may reveal the place (GPS), the time and the "
        "camera's owner. Without this option all EXIF data is removed; the colour profile stays",
    )
    add_writing(out)
    machine = parser.add_argument_group("the machine")
    add_machine(
        machine,
        threads="decode",
        memory="memory limit of the program, which on a CPU includes the network. If a picture "
        "would need more, the network runs at a smaller size, with a warning",
    )
    add_compilation_cache(machine)
    add_share(machine, last="merges their manifests")


def _kind(text: str) -> str:
    from p3m_jax.prediction.outputs import MATTING_KINDS

    if text not in MATTING_KINDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(MATTING_KINDS)}; choose pictures and folders before "
            "--save, or after --"
        )
    return text


def run(args: argparse.Namespace) -> int:
    """Predicts the mattes; returns the exit code, or raises an error that the caller prints."""
    refuse(_misuse(args))
    from p3m_jax.jobs.manifest import open_manifest
    from p3m_jax.jobs.plan import check_given
    from p3m_jax.prediction.outputs import Writing, check_background, ending, find_background

    kinds = tuple(dict.fromkeys(args.save or ("alpha",)))
    memory = memory_limit(args)
    output = user_path(args.output)
    plan = find_pictures(args, output, {kind: ending(kind, args.format) for kind in kinds})
    background = find_background(args.background) if args.background else None
    mattes = None
    if args.alphas:
        mattes = source_folder(args.alphas, "choose the folder of mattes: --alphas DIR")
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
        outcome = run_jobs(args, manifest, jobs, settings, work, memory)
        if outcome.stopped is None:
            manifest.close(jobs)
    seconds = time.monotonic() - started
    _summarise(outcome, len(jobs), output, seconds, matting)
    return exit_code(outcome, closed=say_what_is_missing(plan))


def _misuse(args: argparse.Namespace) -> str | None:
    if args.checkpoint is None and args.alphas is None:
        return NO_WEIGHTS
    if args.checkpoint and args.alphas:
        return "Name either --checkpoint or --alphas."
    if args.alphas and (args.strategy or args.exact_sizes):
        return "--strategy and --exact-sizes require --checkpoint; --alphas are used as read."
    kinds = args.save or ["alpha"]
    if ("composite" in kinds) != bool(args.background):
        return "--save composite and --background must be given together."
    if args.alpha_bits == 16 and "alpha" not in kinds:
        return "--alpha-bits requires --save alpha."
    if args.keep_metadata and kinds == ["alpha"]:
        return "--keep-metadata requires a colour output; alpha never has metadata."
    return None


def _work(
    args: argparse.Namespace, mattes: Path | None, memory: int, writing: "Writing"
) -> "tuple[MattingWork, dict[str, Any], Matting | None]":
    """Returns the work per picture, the settings that mattes depend on, and the network if used."""
    from p3m_jax.prediction.work import MattingWork

    if mattes is not None:
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


def _summarise(
    outcome: "JobOutcome", total: int, output: Path, seconds: float, matting: "Matting | None"
) -> None:
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
        warn("The weights were trained on synthetic portraits; they do not work on real ones.")
    text = (
        f"{counted(total, 'picture')}: {outcome.done} done, {outcome.skipped} already done, "
        f"{len(outcome.failed)} failed, {len({file for file, _ in outcome.warnings})} with "
        f"warnings; {time_taken(outcome, seconds)}"
    )
    if outcome.done and matting is not None:
        text += f" ({counted(matting.compiled, 'compiled program')})"
    say(f"{text}.\nIn {shown(output)}; {MANIFEST} has a line for each picture.")
    say_why_it_ended(outcome, total)
