"""`p3m anonymize`: an obfuscated copy of a collection of portraits."""

import argparse
import time
from collections import Counter
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
from p3m_jax.commands.options import add_output
from p3m_jax.text import counted, say, shown, warn

HELP = "make a copy of portraits with obfuscated faces; what is not sure waits for your review"

REVIEW_CODE = 3

EXAMPLES = """\
Copy a folder of portraits; out/blurred_image and out/facemask get its tree:
  p3m anonymize portraits -o out
With mattes, whose transition areas (hair, edges) stay sharp; the result can be trained on:
  p3m anonymize portraits -o out --mattes mattes --format jpg
After the review of out/keep_private/review/sheet_001.jpg. Edit the proposed masks in a paint
program where they are wrong (white: face; all black: no face; where no face was found, the proposal
is all white), delete those of pictures that must not be passed on, and say that you looked at the
rest:
  p3m anonymize portraits -o out --masks out/keep_private/review/masks --reviewed
Pass on pictures that are known to show no face as they are:
  p3m anonymize seen_from_behind -o out --no-face ok
Hide hair and ears, too:
  p3m anonymize portraits -o out --area head

Faces of 24 pixels and more are searched for in pictures of any size (64 where they are turned).
The area of a face reaches from the jaw to the top of the brows; hair, ears and background stay, and
people who know the person may recognise them by these (see docs/privacy.md). A picture needs review
if no face is found, if a finding may be no face, if a face is cut by the edge, faint, or found
again after obfuscation, or if a matte leaves an eye or the mouth clear. It is not passed on, but
listed in out/keep_private/review, and the exit code says so. A face that is missed next to one that
is found is not noticed: look at the copies.

Masks are black and white. A face that is surely found where a mask shows none needs review, unless
the mask is a reviewed proposal.

A proposed mask that you edited counts as reviewed. One that is unchanged passes only with
--reviewed. What a mask passed on stays done when you run the command without --masks again.

out/keep_private is only for you: review shows clear faces, and records says, for each picture that
was passed on, where its face is to the pixel, and the hash of the input. The copies have none of
the metadata: no EXIF, no place, no thumbnail. Their colour profile is never the input's: numbers in
Display P3 or Adobe RGB stay and get a profile made here, all else becomes sRGB without a profile.
That holds also for colours that EXIF data or numbers in PNG and AVIF files tell.
Publish only blurred_image, mask and facemask: manifest.jsonl has the inputs' names and hashes, too.

With --full-names the mask or matte of a.jpg is a.jpg.png; a.png counts only where no other picture
has that name.

Run the same command again to resume. Nothing is overwritten without --overwrite.

Exit code: 0 all passed on, 1 something could not be done (the end of the output says what), 2 wrong
options, 3 pictures need review, 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from p3m_jax.jobs.plan import FORMATS

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures and folders of them")
    what = parser.add_argument_group("what is hidden")
    what.add_argument(
        "--mode",
        choices=("blur", "mosaic", "fill"),
        default="blur",
        help="blur as in P3M-10k (default), mosaic, or fill with black, which reveals least",
    )
    what.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="sigma of the blur, or side of a mosaic's cell, as a share of the area's longer side "
        "(0.24); a blur below 0.16 or a mosaic below 0.125 is not safe",
    )
    what.add_argument(
        "--area",
        choices=("face", "head"),
        default="face",
        help="face: from the jaw to the brows, as in P3M-10k (default); head: hair and ears, too, "
        "but long hair may reach further. Masks take its place, and with --mattes their transition "
        "areas stay sharp, where hair mostly is",
    )
    what.add_argument(
        "--mattes",
        metavar="DIR",
        help="mattes, in the tree and with the names of the pictures: their transition areas stay "
        "sharp, and they are copied to mask/",
    )
    what.add_argument(
        "--masks",
        metavar="DIR",
        help="face masks, in the tree and with the names of the pictures, which need not all have "
        "one: used instead of a search; white where a face is, all black where none is",
    )
    what.add_argument(
        "--reviewed",
        action="store_true",
        help="you looked at all masks in --masks: also the proposed ones that are unchanged count",
    )
    what.add_argument(
        "--no-face",
        choices=("review", "ok"),
        default="review",
        help="ok: pass on pictures in which no face is found as they are (default: review)",
    )
    out = parser.add_argument_group("output")
    add_output(out, "folder for the copy")
    out.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="of the pictures; png (default) keeps all pixels outside the faces, jpg is P3M-10k's",
    )
    add_writing(out)
    machine = parser.add_argument_group("the machine")
    add_machine(machine, threads="look for faces", memory="for all of it")
    add_share(machine, last="searches pictures that need review again, to list them")


def run(args: argparse.Namespace) -> int:
    """Anonymises and returns the exit code; raises errors that the command line shows."""
    from p3m_jax.data.folders import user_path
    from p3m_jax.faces.obfuscation import STRENGTH, Obfuscation
    from p3m_jax.jobs.memory import BASE
    from p3m_jax.runtime.machine import default_memory

    strength = STRENGTH if args.strength is None else args.strength
    memory = args.max_memory or default_memory()
    problem = _misuse(args, memory, 1.5 * BASE)
    if problem:
        warn(problem)
        return 2
    obfuscation = Obfuscation(args.mode, strength).check()
    output = user_path(args.output)
    folders = {name: user_path(path) for name, path in _given(args).items()}
    plan = _plan(args, output, folders)
    from p3m_jax.anonymizing.review import ReviewList
    from p3m_jax.anonymizing.work import PRIVATE, AnonymizingWork
    from p3m_jax.faces.finding import FaceFinder
    from p3m_jax.jobs.manifest import DONE, open_manifest
    from p3m_jax.jobs.run import Run

    if obfuscation.warning:
        warn(obfuscation.warning)
    prepare(plan)
    started = time.monotonic()
    jobs = plan.jobs if args.share is None else args.share.of(plan.jobs)
    names = {str(job.name) for job in jobs}
    review = ReviewList(
        output / PRIVATE / "review", names, folders.get("masks"), written=args.share is None
    )
    work = AnonymizingWork(
        FaceFinder(area=args.area),
        obfuscation,
        review,
        **folders,
        area=args.area,
        no_face_is_fine=args.no_face == "ok",
        quality=args.quality,
        reviewed=args.reviewed,
    )
    settings = _settings(args, obfuscation, plan)
    with open_manifest(output, jobs, args.share) as manifest:
        if not args.overwrite:
            manifest.check(jobs, settings)
        (output / PRIVATE).mkdir(mode=0o700, exist_ok=True)
        outcome = Run(
            manifest,
            settings,
            work,
            memory=memory,
            workers=args.workers,
            overwrite=args.overwrite,
        ).start(jobs)
        if outcome.stopped is None:  # else nothing can be written
            known = {str(job.name): manifest.entry(job).get("status") for job in jobs}
            done = {name for name, status in known.items() if status == DONE}
            review.close(done if outcome.interrupted else names)
            manifest.close(jobs)
    code = _summarise(outcome, work, jobs, args, output, time.monotonic() - started)
    return 1 if say_what_is_missing(plan) and code != 130 else code


def _given(args: argparse.Namespace) -> dict[str, str]:
    named = {"mattes": args.mattes, "masks": args.masks}
    return {name: path for name, path in named.items() if path is not None}


def _misuse(args: argparse.Namespace, memory: int, least: float) -> str | None:
    if "" in (*args.inputs, args.output, *_given(args).values()):  # Python's current folder
        return "There is an empty name among the options; a variable may be unset."
    if args.mode == "fill" and args.strength is not None:
        return "--strength goes with blur and mosaic; fill has none."
    if args.strength is not None and not 0.02 <= args.strength <= 1:
        return "--strength is 0.02 to 1, a share of the face's size."
    if args.reviewed and args.masks is None:
        return "--reviewed goes with --masks, the folder of the masks that you have looked at."
    if args.quality > 100:
        return "--quality is at most 100."
    if memory < least:
        return f"--max-memory: {least / 1e9:.1f} at least."
    return None


def _plan(args: argparse.Namespace, output: Path, folders: dict[str, Path]):
    from p3m_jax.anonymizing.work import FACEMASK, MATTE, PICTURE, RECORD
    from p3m_jax.data.folders import user_path
    from p3m_jax.jobs.given import is_given
    from p3m_jax.jobs.plan import PlanError, check_given, make_plan

    endings = {PICTURE: args.format, FACEMASK: "png", RECORD: "json"}
    if "mattes" in folders:
        endings |= {MATTE: "png"}
    plan = make_plan(map(user_path, args.inputs), output, endings, full_names=args.full_names)
    kinds = {"mattes": MATTE, "masks": FACEMASK}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise PlanError(f"{folder}: there is no such folder; name the folder of {name}.")
        check_given(plan, output, folder, kind=kinds[name], what=name)
    masks = folders.get("masks")
    if masks is not None and not any(is_given(masks, job) for job in plan.jobs):
        raise PlanError(
            f"{masks}: holds no mask for any of the pictures; masks are looked for in the "
            f"pictures' tree and with their names, such as {masks / plan.jobs[0].name}.png."
        )
    return plan


def _settings(args: argparse.Namespace, obfuscation, plan) -> dict[str, dict]:
    """By kind, the settings that its outputs depend on."""
    from p3m_jax.anonymizing.work import PICTURE
    from p3m_jax.faces.weights import weights_versions

    found_by = {name: value[:16] for name, value in weights_versions().items()}
    hidden = {"obfuscation": str(obfuscation), "found_by": found_by}
    if args.area != "face":  # which older manifests do not name
        hidden["area"] = args.area
    kinds = {kind for job in plan.jobs for kind in job.outputs}
    settings = {kind: dict(hidden) for kind in kinds}
    if kinds and args.format != "png":
        settings[PICTURE]["quality"] = args.quality
    return settings


def _summarise(outcome, work, jobs, args, output: Path, seconds: float) -> int:
    """Prints the summary and returns the exit code."""
    from p3m_jax.anonymizing.work import PICTURE
    from p3m_jax.jobs.plan import MANIFEST

    waiting = {file for file, _ in outcome.waiting}
    for sentence, count in Counter(text for _, text in outcome.warnings).items():
        warn(f"Warning: {sentence}: {count} picture{'s' if count > 1 else ''}")
    for _, reason in outcome.failed:
        warn(f"Failed: {reason}")
    unchanged = len(work.unchanged)
    as_they_are = f" ({unchanged} as they are, with no face to hide)" if unchanged else ""
    say(
        f"{counted(len(jobs), 'picture')}: {outcome.done} passed on{as_they_are}, "
        f"{outcome.skipped} already done, {len(waiting)} need review, {len(outcome.failed)} "
        f"failed; {time_taken(outcome, seconds)}.\nIn {shown(output)}; {MANIFEST} has a line for "
        "each picture. Do not pass on that file or keep_private."
    )
    untouched = len(work.unchanged_masks)
    if untouched:
        told = "you said --reviewed" if args.reviewed else "say --reviewed if you looked at them"
        say(f"Masks that are unchanged since they were proposed: {untouched}; {told}.")
    if waiting and outcome.stopped is None:  # else there are no sheets
        _say_what_to_review(outcome.waiting, work.review, args)
    earlier = [job for job in jobs if job.source in waiting]
    earlier = sum((output / job.outputs[PICTURE]).exists() for job in earlier)
    if earlier:
        warn(
            f"{earlier} of these have a copy from an earlier run, which stays; delete it if it is "
            "not to be used."
        )
    say_why_it_ended(outcome, len(jobs))
    if outcome.interrupted:
        return 130
    if outcome.failed or outcome.stopped:
        return 1
    return REVIEW_CODE if waiting else 0


def _say_what_to_review(waiting, review, args) -> None:
    """Prints why pictures were not passed on, and what to do about it."""
    counts = Counter(reason for _, reasons in waiting for reason in reasons)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
    sheets = f"Look at the sheets in {review.folder}"
    remedy = (
        "correct or delete the masks there, and say --masks with that folder's masks (and "
        "--reviewed if you looked at all of them)"
    )
    if review.proposals.given:
        remedy = "edit their masks, or run without --masks to have missing ones proposed"
    if args.share:
        sheets, remedy = "When all shares are done", "run without --share to get their sheets"
    warn(f"NOT passed on: {reasons}. {sheets}, {remedy}.")
