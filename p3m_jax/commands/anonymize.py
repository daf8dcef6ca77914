"""`p3m anonymize`: makes a copy of a collection of portraits with obfuscated faces."""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from p3m_jax.commands.misuse import obfuscation_of
from p3m_jax.commands.options import add_output, strength
from p3m_jax.errors import OptionError
from p3m_jax.storage.paths import source_folder, user_path
from p3m_jax.text import counted, say, shown, warn

if TYPE_CHECKING:  # loaded only when the command runs
    from p3m_jax.anonymizing.review import ReviewList
    from p3m_jax.anonymizing.work import AnonymizingWork
    from p3m_jax.faces.obfuscation import Obfuscation
    from p3m_jax.jobs.plan import Job, Plan
    from p3m_jax.jobs.work import JobOutcome

HELP = "make a copy of portraits with obfuscated faces; uncertain pictures wait for your review"

EXAMPLES = """\
Copy a folder of portraits with blurred faces. The copies are in out/blurred_image and their face
masks in out/facemask, with the subfolders of the input:
  p3m anonymize portraits -o out
The same with mattes. Their transition areas (hair, edges) stay sharp, and the result can be used
for training:
  p3m anonymize portraits -o out --mattes mattes --format jpg
Release pictures that you have reviewed. Look at out/keep_private/review/sheet_001.jpg first. Where
a proposed mask is wrong, edit it in a paint program (white: face; all black: no face; the proposal
is all white if no face was found). Delete the masks of pictures that must not be released. Then
confirm with --reviewed that you looked at the rest:
  p3m anonymize portraits -o out --masks out/keep_private/review/masks --reviewed
Release pictures unchanged if you know that they show no face:
  p3m anonymize seen_from_behind -o out --no-face ok
Hide hair and ears, too:
  p3m anonymize portraits -o out --area head

The search finds faces of 24 pixels and more in pictures of any size (turned faces: 64 pixels and
more). The area of a face reaches from the jaw to the top of the brows. Hair, ears and background
stay visible, and people who know the person may recognise them by these (see docs/privacy.md).

A picture needs review in these cases: no face is found; a detection may not be a face; a face is
cut off by the picture's edge, faint, or still found after obfuscation; because of the matte, an eye
or the mouth stays clear. Such a picture is not released. It is listed in out/keep_private/review,
and the exit code is 3. If one face is found but another one next to it is missed, the program does
not notice. Therefore look at the copies.

Masks are black and white. If a face is found with certainty where a mask shows none, the picture
needs review, unless the mask is a reviewed proposal.

A proposed mask that you edited counts as reviewed. An unchanged one is accepted only with
--reviewed. If you run the command again without --masks, pictures that were released with a mask
are not processed again.

Do not share out/keep_private. The sheets in out/keep_private/review show clear faces. For each
picture that was released, out/keep_private/records holds the exact position of the face and the
hash of the input.

The copies contain no metadata: no EXIF data, no location, no thumbnail. They never keep the input's
colour profile. Colours in Display P3 or Adobe RGB keep their values and get a profile made by this
program; all others are converted to sRGB and saved without a profile. This also applies to colour
spaces that are declared in EXIF data or by codes in PNG and AVIF files.
Publish only blurred_image, mask and facemask: manifest.jsonl also holds the inputs' names and
hashes.

The mask or matte of a.jpg is a.png, or with --full-names a.jpg.png. With --full-names, a.png is
also accepted if no other picture is named a.

Run the same command again to resume. Nothing is overwritten without --overwrite.

Exit code: 0 all released, 1 something failed (the end of the output says what), 2 wrong options,
3 pictures need review, 130 interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    from p3m_jax.jobs.plan import FORMATS

    add_inputs(parser, EXAMPLES)
    what = parser.add_argument_group("what is hidden")
    what.add_argument(
        "--mode",
        choices=("blur", "mosaic", "fill"),
        default="blur",
        help="blur as in P3M-10k (default), mosaic, or fill with black, which reveals the least",
    )
    what.add_argument(
        "--strength",
        type=strength,
        metavar="S",
        help="sigma of the blur, or side of a mosaic cell, as a fraction of the area's longer side "
        "(default: 0.24); a blur below 0.16 or a mosaic below 0.125 is not safe",
    )
    what.add_argument(
        "--area",
        choices=("face", "head"),
        default="face",
        help="face: from the jaw to the brows, as in P3M-10k (default); head: also hair and ears, "
        "but long hair may extend beyond this area. Masks given with --masks replace it. With "
        "--mattes, the transition areas, which contain most of the hair, stay sharp",
    )
    what.add_argument(
        "--mattes",
        metavar="DIR",
        help="folder of mattes with the same subfolders and file names as the pictures. Their "
        "transition areas stay sharp, and they are copied to mask/",
    )
    what.add_argument(
        "--masks",
        metavar="DIR",
        help="folder of face masks with the same subfolders and file names as the pictures. White "
        "is face; all black means no face. A mask is used instead of the faces that a search "
        "finds; pictures without a mask are searched for faces",
    )
    what.add_argument(
        "--reviewed",
        action="store_true",
        help="confirms that you have reviewed every mask in --masks; proposed masks that you did "
        "not change are then accepted, too",
    )
    what.add_argument(
        "--no-face",
        choices=("review", "ok"),
        default="review",
        help="for pictures in which no face is found. review: list them for review (default); "
        "ok: release them unchanged",
    )
    out = parser.add_argument_group("output")
    add_output(out, "folder for the copy")
    out.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="format of the pictures. png (default) keeps all pixels outside the faces exactly; "
        "jpg is the format of P3M-10k",
    )
    add_writing(out)
    machine = parser.add_argument_group("the machine")
    add_machine(machine, threads="search for faces", memory="memory limit of the program")
    add_share(
        machine, last="repeats the search for pictures that need review, in order to list them"
    )


def run(args: argparse.Namespace) -> int:
    """Anonymises the pictures; returns the exit code, or raises an error that the caller prints."""
    if args.reviewed and args.masks is None:
        raise OptionError("--reviewed requires --masks, the folder of the masks that you reviewed.")
    memory = memory_limit(args)
    obfuscation = obfuscation_of(args.mode, args.strength)
    output = user_path(args.output)
    named = {"mattes": args.mattes, "masks": args.masks}
    folders = {
        name: source_folder(path, f"choose the folder of {name}: --{name} DIR")
        for name, path in named.items()
        if path is not None
    }
    plan = _plan(args, output, folders)
    from p3m_jax.anonymizing.review import ReviewList
    from p3m_jax.anonymizing.work import PRIVATE, AnonymizingWork
    from p3m_jax.faces.finding import FaceFinder
    from p3m_jax.jobs.manifest import DONE, open_manifest

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
        mattes=folders.get("mattes"),
        masks=folders.get("masks"),
        area=args.area,
        no_face_is_fine=args.no_face == "ok",
        quality=args.quality,
        reviewed=args.reviewed,
    )
    settings = _settings(args, obfuscation, plan)
    with open_manifest(output, jobs, args.share) as manifest:
        if args.share is None:
            review.remove_leftovers(jobs)
        if not args.overwrite:
            manifest.check(jobs, settings)
        (output / PRIVATE).mkdir(mode=0o700, exist_ok=True)
        outcome = run_jobs(args, manifest, jobs, settings, work, memory)
        if outcome.stopped is None:  # otherwise nothing can be written
            known = {str(job.name): manifest.entry(job).get("status") for job in jobs}
            done = {name for name, status in known.items() if status == DONE}
            review.close(done if outcome.interrupted else names)
            manifest.close(jobs)
    _summarise(outcome, work, jobs, args, output, time.monotonic() - started)
    return exit_code(outcome, closed=say_what_is_missing(plan))


def _plan(args: argparse.Namespace, output: Path, folders: dict[str, Path]) -> "Plan":
    from p3m_jax.anonymizing.work import FACEMASK, MATTE, PICTURE, RECORD
    from p3m_jax.jobs.given import is_given
    from p3m_jax.jobs.plan import PlanError, check_given

    endings = {PICTURE: args.format, FACEMASK: "png", RECORD: "json"}
    if "mattes" in folders:
        endings |= {MATTE: "png"}
    plan = find_pictures(args, output, endings)
    kinds = {"mattes": MATTE, "masks": FACEMASK}
    for name, folder in folders.items():
        check_given(plan, output, folder, kind=kinds[name], what=name)
    masks = folders.get("masks")
    if masks is not None and not any(is_given(masks, job) for job in plan.jobs):
        raise PlanError(
            f"{masks}: contains no mask for any of the pictures; masks must have the subfolders "
            f"and names of the pictures, such as {masks / plan.jobs[0].name}.png."
        )
    return plan


def _settings(
    args: argparse.Namespace, obfuscation: "Obfuscation", plan: "Plan"
) -> dict[str, dict]:
    """Returns, for each kind of output, the settings that it depends on."""
    from p3m_jax.anonymizing.work import PICTURE
    from p3m_jax.faces.weights import weights_versions

    found_by = {name: value[:16] for name, value in weights_versions().items()}
    hidden = {"obfuscation": str(obfuscation), "found_by": found_by}
    if args.area != "face":  # older manifests do not have this entry
        hidden["area"] = args.area
    kinds = {kind for job in plan.jobs for kind in job.outputs}
    settings = {kind: dict(hidden) for kind in kinds}
    if kinds and args.format != "png":
        settings[PICTURE]["quality"] = args.quality
    return settings


def _summarise(
    outcome: "JobOutcome",
    work: "AnonymizingWork",
    jobs: "Sequence[Job]",
    args: argparse.Namespace,
    output: Path,
    seconds: float,
) -> None:
    from p3m_jax.anonymizing.work import PICTURE
    from p3m_jax.jobs.plan import MANIFEST

    waiting = {file for file, _ in outcome.waiting}
    for sentence, count in Counter(text for _, text in outcome.warnings).items():
        warn(f"Warning: {sentence}: {counted(count, 'picture')}")
    for _, reason in outcome.failed:
        warn(f"Failed: {reason}")
    unchanged = len(work.unchanged)
    as_they_are = f" ({unchanged} unchanged, with no face to hide)" if unchanged else ""
    say(
        f"{counted(len(jobs), 'picture')}: {outcome.done} released{as_they_are}, "
        f"{outcome.skipped} already done, {len(waiting)} need review, {len(outcome.failed)} "
        f"failed; {time_taken(outcome, seconds)}.\nIn {shown(output)}; {MANIFEST} has a line for "
        "each picture. Do not share that file or keep_private."
    )
    untouched = len(work.unchanged_masks)
    if untouched:
        told = "accepted by --reviewed" if args.reviewed else "add --reviewed if you reviewed them"
        say(f"Proposed masks that you did not change: {untouched}; {told}.")
    if waiting and outcome.stopped is None:  # otherwise there are no sheets
        _say_what_to_review(outcome.waiting, work.review, args)
    again = [job for job in jobs if job.source in waiting]
    earlier = sum((output / job.outputs[PICTURE]).exists() for job in again)
    if earlier:
        warn(
            f"{earlier} of these have a copy from an earlier run, which is kept; delete it if it "
            "must not be used."
        )
    say_why_it_ended(outcome, len(jobs))


def _say_what_to_review(
    waiting: Iterable[tuple[Path, Sequence[str]]], review: "ReviewList", args: argparse.Namespace
) -> None:
    """Prints why pictures were not released, and what to do about it."""
    counts = Counter(reason for _, reasons in waiting for reason in reasons)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
    sheets = f"Look at the sheets in {review.folder}"
    remedy = (
        "correct or delete the masks there, and run again with --masks and the folder of these "
        "masks (and --reviewed if you looked at all of them)"
    )
    if review.proposals.given:
        remedy = "edit their masks, or run without --masks to get proposals for missing ones"
    if args.share:
        sheets, remedy = "When all shares are done", "run without --share to get their sheets"
    warn(f"NOT released: {reasons}. {sheets}, {remedy}.")
