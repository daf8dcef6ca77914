"""`p3m evaluate`: scores a checkpoint, or mattes from any other program, on a test set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from p3m_jax.commands import one_sentence_errors
from p3m_jax.commands.misuse import own_pictures_or_test_set, refuse, refuse_output_among
from p3m_jax.commands.options import (
    Parser,
    add_compilation_cache,
    add_distributed,
    add_faces,
    add_output,
    add_pairs,
    add_test_set,
    add_workers,
    at_least,
)
from p3m_jax.pictures.left_out import warn_of
from p3m_jax.runtime import distributed
from p3m_jax.runtime.large_pages import restart_with_large_pages
from p3m_jax.storage.paths import user_path
from p3m_jax.text import say, shown, warn

if TYPE_CHECKING:  # loaded only when the command runs
    import numpy as np

    from p3m_jax.data.sets import DataSet, Example
    from p3m_jax.evaluation.evaluator import Row
    from p3m_jax.evaluation.report import Evaluation

HELP = "score a checkpoint, or any program's mattes, on a test set or your own pictures"

EXAMPLES = """\
Score a checkpoint on a test set of P3M-10k (the folder that contains train/ and validation/):
  evaluate.py --checkpoint runs/swin --set P3M-500-P --data P3M-10k -o results/swin-p
Score with the strategies RESIZE and HYBRID, by the protocol of the authors' program of 2024:
  evaluate.py --checkpoint runs/swin --set P3M-500-NP --data P3M-10k \\
      --strategy resize hybrid --protocol p3m-2024 -o results/swin-np
Score on your own pictures and mattes, matched by name:
  evaluate.py --checkpoint runs/swin --pictures photos --mattes mattes -o results/mine
Score mattes that another program wrote as STEM.png:
  evaluate.py --predictions theirs --set P3M-500-P --data P3M-10k -o results/theirs

The output folder receives pictures.csv, results.json, summary.md (also printed, together with the
published scores) and, for each strategy, a sheet of the worst pictures.

Protocols: p3m-2021 and p3m-2024 resize as the authors' programs do, without anti-aliasing.
p3m-2021 scores alpha as floats, p3m-2024 scores alpha truncated to 8 bits. The protocol "ours"
resizes with anti-aliasing and scores alpha rounded to 8 bits, so that saved mattes get the same
scores.

Exit code: 0 done, 1 failed (one message says why), 2 wrong options.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    scored = parser.add_argument_group("subject of the evaluation (exactly one)")
    scored.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="an inference checkpoint, a training checkpoint, or a run's folder",
    )
    scored.add_argument("--predictions", metavar="DIR", help="mattes written by any program")
    against = parser.add_argument_group("reference (a test set, or your own pictures)")
    add_test_set(against, "folder of P3M-10k or of RealWorldPortrait-636")
    add_faces(against)
    add_pairs(
        against,
        pictures="your own pictures; requires --mattes",
        mattes="their reference mattes, matched by file stem",
        trimaps="their trimaps (default: made from the mattes)",
        facemasks="face masks; adds the measures inside the face",
    )
    how = parser.add_argument_group("method")
    how.add_argument(
        "--strategy",
        nargs="+",
        action="extend",
        choices=("resize", "hybrid", "native"),
        help="resize: run at half size, as in the published tables (default); hybrid: find the "
        "person at half size and the hair at full size; native: run at full size",
    )
    how.add_argument(
        "--protocol",
        choices=("p3m-2021", "p3m-2024", "ours"),
        help="how pictures are resized and alpha is scored, see below (default: ours)",
    )
    add_workers(how, "compute scores")
    add_distributed(how)
    add_compilation_cache(how)
    out = parser.add_argument_group("output")
    add_output(out, "a new or empty folder")
    out.add_argument(
        "--overwrite", action="store_true", help="replace an evaluation in the output folder"
    )
    out.add_argument("--save-mattes", action="store_true", help="also write the predicted mattes")
    out.add_argument(
        "--worst",
        type=at_least(0),
        default=8,
        metavar="N",
        help="how many of the worst pictures the sheet shows (default: 8)",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates and returns 0; raises `OptionError` for wrong options."""
    refuse(_misuse(args))
    with distributed.connected(args.distributed), one_sentence_errors():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    dataset = _dataset(args)
    named = (args.predictions, args.pictures, args.mattes, args.trimaps, args.facemasks)
    refuse_output_among(args.output, named, [dataset])
    from p3m_jax.evaluation.output import MARKDOWN, claim_folder, write_files
    from p3m_jax.evaluation.report import SYNTHETIC_WARNING, make_report

    output = user_path(args.output)
    with distributed.first_in_turn("the output folder"):
        if distributed.is_first():
            claim_folder(args.output, overwrite=args.overwrite)
    if args.predictions:
        evaluation = _evaluate_predictions(args, dataset)
    else:
        evaluation = _evaluate_checkpoint(args, dataset, output)
    for worst in evaluation.worst.values():
        worst.together()
    if not distributed.is_first():
        return 0
    report = make_report(evaluation)
    say(str(report[MARKDOWN]))  # printed first, so that a full disk does not lose the numbers
    write_files(report, output, evaluation.mattes)
    say(f"Written to {shown(output)}")
    if evaluation.synthetic:
        warn(SYNTHETIC_WARNING.format(evaluation.synthetic))
    warn_of(_left_out(args, dataset))
    return 0


def _left_out(args: argparse.Namespace, dataset: "DataSet") -> list[str]:
    """Returns sentences about files that were not read, in the folders of set and predictions."""
    from p3m_jax.data.folders import list_folder

    given = list_folder(user_path(args.predictions)).left_out if args.predictions else []
    return [*dataset.left_out, *given]


def _misuse(args: argparse.Namespace) -> str | None:
    if bool(args.checkpoint) == bool(args.predictions):
        return "Name either --checkpoint or --predictions."
    own_pictures_or_test_set(args)
    if args.predictions and args.distributed != "off":
        return "--distributed requires --checkpoint; scoring finished mattes uses one process."
    if args.predictions and args.save_mattes:
        return "--save-mattes: the mattes of --predictions already exist; leave the option out."
    if args.predictions and (args.strategy or args.protocol):
        return "--strategy and --protocol require --checkpoint; --predictions are scored as read."
    return None


def _dataset(args: argparse.Namespace) -> "DataSet":
    from p3m_jax.data import layouts

    if args.set:
        return layouts.find_test_set(
            args.data, args.set, faces=args.faces, facemasks=args.facemasks
        )
    return layouts.folder_pair(
        args.pictures, args.mattes, trimaps=args.trimaps, facemasks=args.facemasks
    )


def _evaluate_predictions(args: argparse.Namespace, dataset: "DataSet") -> "Evaluation":
    from p3m_jax.evaluation.checks import check_files, find_predictions
    from p3m_jax.evaluation.evaluator import Worst, evaluate_predictions, trimap_source
    from p3m_jax.evaluation.output import PREDICTIONS
    from p3m_jax.evaluation.report import Evaluation

    worst = Worst(args.worst)
    files = find_predictions(args.predictions, dataset)
    for sentence in check_files(dataset, files, workers=args.workers):
        warn(f"Warning: {sentence}")
    rows = evaluate_predictions(
        args.predictions, dataset, workers=args.workers, observe=worst, checked=True
    )
    return Evaluation(
        dataset_name=dataset.name,
        subject=f"mattes in {args.predictions}",
        protocol="files",
        protocol_says="8-bit files, as another program wrote them",
        trimaps=trimap_source(dataset),
        synthetic="the data set is synthetic" if dataset.synthetic else "",
        rows={PREDICTIONS: rows},
        worst={PREDICTIONS: worst},
    )


def _evaluate_checkpoint(
    args: argparse.Namespace, dataset: "DataSet", output: Path
) -> "Evaluation":
    from p3m_jax.checkpoints.weights import load_for_inference
    from p3m_jax.evaluation.checks import check_files
    from p3m_jax.evaluation.evaluator import Worst, evaluate_examples, trimap_source
    from p3m_jax.evaluation.output import matte_path
    from p3m_jax.evaluation.report import Evaluation
    from p3m_jax.inference.programs import predictor
    from p3m_jax.inference.resizing import find_protocol
    from p3m_jax.pictures.images import write_image
    from p3m_jax.runtime.compilation import keep_compiled, settle

    # Files are checked before the network is loaded, so that errors show early.
    for sentence in check_files(dataset, workers=args.workers):
        warn(f"Warning: {sentence}")
    warning = keep_compiled(args.compilation_cache)
    if warning:
        warn(warning)
    checkpoint = load_for_inference(args.checkpoint)
    settle()
    protocol = find_protocol(args.protocol or "ours")
    marks = {
        "the checkpoint was trained on synthetic portraits": checkpoint.synthetic,
        "the data set is synthetic": dataset.synthetic,
    }
    evaluation = Evaluation(
        dataset_name=dataset.name,
        subject=f"{checkpoint.model_name}, {args.checkpoint}",
        protocol=protocol.name,
        protocol_says=protocol.says,
        trimaps=trimap_source(dataset),
        synthetic=" and ".join(sentence for sentence, holds in marks.items() if holds),
        provenance=checkpoint.provenance,
    )
    for strategy in dict.fromkeys(args.strategy or ["resize"]):
        worst = evaluation.worst[strategy] = Worst(args.worst)

        def observe(
            example: "Example",
            prediction: "np.ndarray",
            row: "Row",
            strategy: str = strategy,
            worst: Worst = worst,
        ) -> None:
            worst(example, prediction, row)
            if args.save_mattes:
                matte = prediction if prediction.dtype == "uint8" else protocol.saved(prediction)
                write_image(matte_path(output, strategy, example.stem), matte)

        evaluation.rows[strategy] = evaluate_examples(
            predictor(checkpoint.network, checkpoint.variables),
            dataset,
            strategy=strategy,
            protocol=protocol,
            model_name=checkpoint.model_name,
            workers=args.workers,
            observe=observe,
            checked=True,
        )
        if args.save_mattes:  # including mattes that other processes wrote
            stems = (row["stem"] for row in evaluation.rows[strategy])
            evaluation.mattes |= {matte_path(output, strategy, stem) for stem in stems}
    return evaluation


def main(arguments: list[str] | None = None) -> int:
    """Runs the script `evaluate.py`; returns the exit code.

    `arguments` are the command-line arguments, by default those of this process.
    """
    parser = Parser(prog="evaluate.py", description=f"evaluate.py: {HELP}.")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    if arguments is None:
        restart_with_large_pages()
    with one_sentence_errors():
        return run(args)
