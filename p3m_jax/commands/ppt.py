"""`p3m ppt`: scores the four protocols of privacy-preserving training (PPT).

A network trained on blurred faces and a network trained on normal faces are each scored on both
kinds of faces.
"""

import argparse
from typing import TYPE_CHECKING

from p3m_jax.commands.misuse import (
    obfuscation_of,
    own_pictures_or_test_set,
    refuse,
    refuse_output_among,
    refuse_same,
)
from p3m_jax.commands.options import (
    add_compilation_cache,
    add_output,
    add_pairs,
    add_test_set,
    add_workers,
    at_least,
    strength,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.storage.paths import user_path
from p3m_jax.text import say, shown, warn

if TYPE_CHECKING:  # loaded only when the command runs
    import numpy as np

    from p3m_jax.data.sets import DataSet
    from p3m_jax.evaluation.ppt import Pictures
    from p3m_jax.evaluation.ppt_report import PPT
    from p3m_jax.faces.obfuscation import Obfuscation

HELP = (
    "score a checkpoint trained on blurred faces and one trained on normal faces, each on both "
    "kinds of faces (privacy-preserving training)"
)

EXAMPLES = """\
PPT is privacy-preserving training. A PPT protocol is written TRAINED:TESTED, where B means blurred
faces and N normal faces. The four PPT protocols are B:B, B:N, N:B and N:N.

Score two checkpoints on a set in P3M-10k's layout that shows the same people in blurred_image and
in original_image:
  p3m ppt --blurred runs/swin-b --normal runs/swin-n --data DIR --set P3M-500-P -o results/ppt
On your own pictures with normal faces, which the program blurs in memory. A face mask says where
the face is; in a picture without one the program searches for faces:
  p3m ppt --blurred runs/swin-b --normal runs/swin-n --pictures photos --mattes mattes \\
      --facemasks masks -o results/ppt
The same with pictures that are already blurred:
  p3m ppt --blurred runs/swin-b --normal runs/swin-n --pictures photos --mattes mattes \\
      --blurred-pictures blurred -o results/ppt
With an obfuscation of your choice instead of the set's own:
  p3m ppt --blurred runs/swin-b --normal runs/swin-n --data DIR --set P3M-500-P \\
      --obfuscate mosaic --strength 0.1 -o results/ppt-mosaic

The output folder receives four files: summary.md with the table of the protocols, statistical tests
of the differences, and published scores (also printed); ppt.csv with a row per picture and
protocol; results.json; and ppt_differences.jpg, a sheet with the mattes of all four protocols for
those pictures with normal faces on which the two checkpoints differ most.

The program blurs only faces that it finds with certainty. If it finds no face or only an uncertain
one in a picture without a face mask, the command ends before anything is scored. Provide masks for
such pictures with --facemasks; an all-black mask means that the picture shows no face.

Exit code: 0 done, 1 failed (one message says why), 2 wrong options.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    scored = parser.add_argument_group("checkpoints to score (each a checkpoint or a run's folder)")
    scored.add_argument("--blurred", required=True, metavar="PATH", help="trained on blurred faces")
    scored.add_argument("--normal", required=True, metavar="PATH", help="trained on normal faces")
    against = parser.add_argument_group("pictures (a test set, or your own)")
    add_test_set(against, "the folder that contains validation/")
    add_pairs(
        against,
        pictures="your own pictures with normal faces; requires --mattes",
        mattes="their reference mattes, matched by file stem",
        trimaps="their trimaps (default: made from the mattes)",
        facemasks="face masks. They say which areas to blur, and add the measures inside the face",
    )
    blurred = parser.add_argument_group(
        "blurred faces (default: the set's own, or blur with strength 0.24 if it has none)"
    )
    blurred.add_argument(
        "--blurred-pictures", metavar="DIR", help="the same pictures as --pictures, already blurred"
    )
    blurred.add_argument(
        "--obfuscate",
        choices=("blur", "mosaic", "fill"),
        help="how to make the blurred pictures, in memory, from those with normal faces",
    )
    blurred.add_argument(
        "--strength",
        type=strength,
        metavar="S",
        help="strength as a fraction of the face's size, 0.02 to 1 (default: 0.24)",
    )
    how = parser.add_argument_group("method")
    how.add_argument(
        "--strategy",
        choices=("resize", "hybrid", "native"),
        default="resize",
        help="see `p3m evaluate` (default: resize, as in the published tables)",
    )
    how.add_argument(
        "--protocol",
        choices=("p3m-2021", "p3m-2024", "ours"),
        default="ours",
        help="how pictures are resized and alpha is scored, see `p3m evaluate` (default: ours)",
    )
    add_workers(how, "compute scores and search for faces")
    add_compilation_cache(how)
    out = parser.add_argument_group("output")
    add_output(out, "a new or empty folder")
    out.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of this command in the output folder",
    )
    out.add_argument(
        "--sheet",
        type=at_least(0),
        default=4,
        metavar="N",
        help="number of pictures on the sheet of differences (default: 4)",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates and returns 0; raises `OptionError` for wrong options."""
    refuse(_misuse(args))
    _obfuscation(args)  # raises early if the options do not go together
    normal, blurred = _sets(args)
    named = (args.blurred, args.normal, args.facemasks, args.trimaps)
    refuse_output_among(args.output, named, filter(None, (normal, blurred)))
    from p3m_jax.checkpoints.folder import find_checkpoint, read_description
    from p3m_jax.evaluation.checks import check_files
    from p3m_jax.evaluation.output import MARKDOWN, PPT_KIND, claim_folder, write_files

    for path in (args.blurred, args.normal):  # early, because searching for faces takes long
        read_description(find_checkpoint(path))
    for dataset in filter(None, (normal, blurred)):
        for sentence in check_files(dataset, workers=args.workers):
            warn(f"Warning: {dataset.name}: {sentence}")
    output = claim_folder(args.output, overwrite=args.overwrite, kind=PPT_KIND)
    ppt, report = _evaluate(args, normal, blurred)
    say(str(report[MARKDOWN]))  # printed first, so that a full disk does not lose the numbers
    write_files(report, output, set())
    say(f"Written to {shown(output)}")
    for warning in ppt.warnings():
        warn(warning)
    warn_of(dict.fromkeys(s for d in filter(None, (normal, blurred)) for s in d.left_out))
    return 0


def _evaluate(
    args: argparse.Namespace, normal: "DataSet", blurred: "DataSet | None"
) -> "tuple[PPT, dict[str, str | np.ndarray]]":
    """Scores all four protocols; returns the scores and their report."""
    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.evaluation.evaluator import trimap_source
    from p3m_jax.evaluation.ppt import BLURRED, NORMAL, Pictures, evaluate_protocols
    from p3m_jax.evaluation.ppt_report import PPT, Trained, make_report, notes
    from p3m_jax.evaluation.ppt_sheet import Predictions
    from p3m_jax.inference.programs import predictor
    from p3m_jax.inference.resizing import find_protocol
    from p3m_jax.runtime.compilation import keep_compiled

    paths = {BLURRED: args.blurred, NORMAL: args.normal}
    checkpoints = {faces: load_for_inference(path) for faces, path in paths.items()}
    tested = {NORMAL: Pictures(normal)}
    tested[BLURRED], source = _blurred_pictures(args, normal, blurred)
    drawn = [faces for faces, checkpoint in checkpoints.items() if checkpoint.synthetic]
    marks = {
        "both checkpoints were trained on synthetic portraits": len(drawn) == 2,
        f"checkpoint {''.join(drawn)} was trained on synthetic portraits": len(drawn) == 1,
        "the data set is synthetic": normal.synthetic,
    }
    ppt = PPT(
        dataset_name=normal.name,
        trained={
            faces: Trained(checkpoint.model_name, str(paths[faces]), checkpoint.provenance)
            for faces, checkpoint in checkpoints.items()
        },
        blurred_source=source,
        protocol=find_protocol(args.protocol),
        strategy=args.strategy,
        trimaps=trimap_source(normal),
        synthetic=" and ".join(sentence for sentence, holds in marks.items() if holds),
        notes=[*_weak(args, blurred), *notes(checkpoints[BLURRED], checkpoints[NORMAL])],
        made_here=blurred is None,
    )
    for warning in filter(None, [*ppt.warnings(), keep_compiled(args.compilation_cache)]):
        warn(warning)
    predictions = Predictions(ppt.protocol)
    ppt.rows = evaluate_protocols(
        {
            faces: (c.model_name, predictor(c.network, c.variables))
            for faces, c in checkpoints.items()
        },
        tested,
        strategy=ppt.strategy,
        protocol=ppt.protocol,
        workers=args.workers,
        observe=predictions.observe,
    )
    return ppt, make_report(ppt, tested, predictions, args.sheet)


def _misuse(args: argparse.Namespace) -> str | None:
    own = own_pictures_or_test_set(args)
    if args.blurred_pictures and not own:
        return "--blurred-pictures requires --pictures and --mattes."
    if args.blurred_pictures and args.obfuscate:
        return "Name either --blurred-pictures or --obfuscate."
    if args.blurred_pictures:
        refuse_same(args, "pictures", "blurred_pictures")
    if args.strength is not None and not args.obfuscate:
        return "--strength requires --obfuscate."
    return None


def _obfuscation(args: argparse.Namespace) -> "Obfuscation":
    return obfuscation_of(args.obfuscate or "blur", args.strength)


def _weak(args: argparse.Namespace, blurred: "DataSet | None") -> list[str]:
    """Returns [warning] if this program obfuscates the faces too weakly; otherwise []."""
    warning = _obfuscation(args).warning if blurred is None else None
    return [warning] if warning else []


def _sets(args: argparse.Namespace) -> "tuple[DataSet, DataSet | None]":
    """Returns the set with normal faces and the set with blurred faces.

    The set with blurred faces is None if the faces are to be blurred in memory.
    """
    from p3m_jax.data.layouts import find_test_set, folder_names, folder_pair
    from p3m_jax.evaluation.checks import EvaluationError

    if not args.set:
        folders = {"trimaps": args.trimaps, "facemasks": args.facemasks}
        normal = folder_pair(args.pictures, args.mattes, **folders)
        if not args.blurred_pictures:
            return normal, None
        return normal, folder_pair(args.blurred_pictures, args.mattes, **folders)
    names = {faces: folder_names(args.set, faces)["picture"] for faces in ("blurred", "normal")}
    place = user_path(args.data) / "validation" / args.set
    there = {faces for faces, name in names.items() if (place / name).is_dir()}
    if there == {"blurred"}:
        raise EvaluationError(
            f"{place}: has no folder {names['normal']} with normal faces of the same people; "
            "P3M-10k does not publish them. Use pictures of your own (--pictures and --mattes)."
        )
    normal = find_test_set(args.data, args.set, faces="normal", facemasks=args.facemasks)
    if args.obfuscate or len(set(names.values())) == 1 or "blurred" not in there:
        return normal, None
    return normal, find_test_set(args.data, args.set, faces="blurred", facemasks=args.facemasks)


def _blurred_pictures(
    args: argparse.Namespace, normal: "DataSet", blurred: "DataSet | None"
) -> "tuple[Pictures, str]":
    """Returns the pictures with blurred faces as `Pictures`, and a sentence about their origin."""
    from p3m_jax.evaluation.ppt import Pictures, obfuscating

    if blurred is not None:
        return Pictures(blurred), f"files in {blurred.examples[0].picture.parent}"
    obfuscation = _obfuscation(args)
    read = obfuscating(normal, obfuscation, workers=args.workers)
    how = obfuscation.mode
    if how != "fill":  # fill has no strength
        how += f", strength {obfuscation.strength:g}"
    found = sum(example.facemask is None for example in normal.examples)
    without = sum(private is None for private in read.private.values())
    counts = {
        "by face masks": len(normal.examples) - found - without,
        "by faces that were found": found,
        "left as they are, since their face masks show no face": without,
    }
    pictures = ", ".join(f"{text}: {count}" for text, count in counts.items() if count)
    source = f"made from those with normal faces ({how}); pictures {pictures}"
    # mypy overlooks that this named tuple can be called.
    return Pictures(normal, read), source  # type: ignore[arg-type]
