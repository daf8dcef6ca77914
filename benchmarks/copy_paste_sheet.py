"""Makes a sheet of pictures with copied faces: one row of plain pictures, and one per variant.

    python benchmarks/copy_paste_sheet.py --data P3M-10k --faces FACES -o sheet.jpg
    python benchmarks/copy_paste_sheet.py --data P3M-10k --faces CelebAMask-HQ \\
        --kind celebamask_hq -o sheet.jpg
    python benchmarks/copy_paste_sheet.py --synthetic -o sheet.jpg

The pictures are training samples, including crops, with a pasting probability of 1. Check that the
copied faces are where faces belong, upright and of a plausible size, and that nothing else has
changed. `--masks` names face masks of the faces. Without it, the program searches for the faces and
writes their masks to the folder `--cache`.
"""

import itertools
import tempfile
from pathlib import Path

import command_line as cli
import numpy as np

from p3m_jax.copy_paste.recipe import VARIANTS, CopyPaste, FaceSource
from p3m_jax.copy_paste.samples import find_pasting
from p3m_jax.copy_paste.sources import (
    KINDS,
    celebamask_hq_faces,
    folder_faces,
    synthetic_faces,
    training_set_faces,
)
from p3m_jax.data.layouts import training_set
from p3m_jax.data.sets import DataSet
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.input.pipeline import training_batches
from p3m_jax.pictures.images import write_image

BATCH = 8


def find_faces(args, dataset: DataSet) -> tuple[FaceSource, ...]:
    """Returns the faces that the options name."""
    if args.kind == "training_set":
        return training_set_faces(dataset, obfuscated=False)
    if args.faces is None:
        return synthetic_faces(args.data)
    if args.kind == "celebamask_hq":
        return celebamask_hq_faces(args.faces, cache=args.cache)
    return folder_faces(args.faces, masks=args.masks, cache=args.cache)


def samples(dataset: DataSet, copy_paste: CopyPaste | None, args) -> np.ndarray:
    """Returns the pictures of the first batches, uint8 (N, S, S, 3)."""
    batches = training_batches(
        dataset,
        batch_size=BATCH,
        crop_sizes=tuple(args.crop_sizes),
        output_size=args.size,
        seed=args.seed,
        composition=False,
        pasting=find_pasting(copy_paste, dataset.examples, seed=args.seed),
    )
    taken = itertools.islice(batches, -(-args.pictures * 4 // BATCH))
    return np.concatenate([batch["picture"] for batch in taken])


def sheet(dataset: DataSet, faces: tuple[FaceSource, ...], args) -> np.ndarray:
    """Makes the sheet, uint8 (H, W, 3), with the requested number of samples that show a face."""
    plain = samples(dataset, None, args)
    rows = {
        variant: samples(dataset, CopyPaste(faces, probability=1.0, variant=variant), args)
        for variant in VARIANTS
    }
    changed = [(row != plain).any((1, 2, 3)) for row in rows.values()]
    shown = np.flatnonzero(np.logical_or.reduce(changed))[: args.pictures]
    return np.concatenate([np.concatenate(row[shown], 1) for row in (plain, *rows.values())])


def main(argv: list[str] | None = None) -> None:
    """Makes and writes the sheet."""
    parser = cli.options_of(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="P3M-10k, the folder that holds train/")
    source.add_argument("--synthetic", action="store_true", help="synthetic portraits and faces")
    parser.add_argument("--faces", type=Path, help="folder of faces, or CelebAMask-HQ")
    parser.add_argument("--masks", type=Path, help="their face masks")
    parser.add_argument("--kind", choices=KINDS, default="folder")
    parser.add_argument("--cache", type=Path, help="folder for the masks that it makes")
    parser.add_argument("--pictures", type=int, default=8, help="number of pictures in a row")
    parser.add_argument("--crop-sizes", type=int, nargs="+", default=[512, 768, 1024])
    parser.add_argument(
        "--size", type=int, default=256, help="side of a picture on the sheet in pixels"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help=".jpg or .png")
    args = cli.parse(parser, argv, synthetic=True, pictures=2, size=64)
    if not args.synthetic and args.data is None:
        parser.error("--data or --synthetic must be given.")
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            count, side = (4, 96) if args.quick else (16, 384)
            args.data = write_synthetic_set(
                Path(folder) / "set", train=count, test=0, faces=count // 2, size=(side, side)
            )
            args.crop_sizes = [side // 2, side * 3 // 4]
        args.cache = args.cache or Path(folder) / "masks"
        dataset = training_set(args.data)
        write_image(args.output, sheet(dataset, find_faces(args, dataset), args))
    print(f"{args.output}: plain, {', '.join(VARIANTS)}")


if __name__ == "__main__":
    cli.run(main)
