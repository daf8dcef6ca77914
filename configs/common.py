"""The published recipe, which all configurations share, and its variants.

A variant has parts with commas between them, in any order: at most one base (`smoke`, `finetune`,
`demonstration`), at most one level of copy and paste (`icp`, `fcp`), and at most one protocol of
privacy-preserving training (`B:B` to `N:N`), such as "smoke,icp,B:N". Where no data set is named,
the training command turns the plain recipe into the demonstration.
"""

import functools

from ml_collections import ConfigDict

# From fresh weights: higher ones than Swin-T's throw its attention off for hundreds of steps.
_FROM_SCRATCH = {"resnet34": 3e-4, "swin": 1e-4, "vitae_s": 1e-4}


def recipe(network: str) -> ConfigDict:
    """The published training recipe (both papers), for a data set in P3M-10k's layout."""
    config = ConfigDict()
    config.network = network
    config.variant = ""
    config.seed = 0
    # A checkpoint of this project to take the weights from; empty: fresh weights. The published
    # numbers start from a backbone pretrained on ImageNet: from scratch a learning rate of 1e-5
    # hardly moves.
    config.init_from = ""

    config.batch_size = 8
    config.epochs = 150
    config.steps = 0  # counts instead of epochs where it is not 0
    config.learning_rate = 1e-5
    config.stochastic_depth = True  # Swin-T's; the other networks have none

    # Where the batch is not 8: what becomes of the learning rate, "constant", "sqrt" (of batch / 8)
    # or "linear". The batch is that of all devices together, which must divide it.
    config.learning_rate_rule = "constant"
    config.average_weights = False  # validate and export their moving average
    config.average_decay = 0.999  # of that average, which is kept where something needs it

    # What a step takes, see docs/scaling.md. Parameters, statistics, norms, softmaxes and losses
    # are in float32 whatever the precision of the maps between them.
    config.precision = "float32"  # or bfloat16, for accelerators
    config.remat = False  # compute the encoder's stages again for the gradient: less memory
    config.batch_parts = 1  # the batch goes through in so many parts: less memory
    config.shard_state = False  # large parameters and moments are cut along the devices

    config.data = ConfigDict()
    config.data.directory = ""  # the folder P3M-10k, which holds train/ and validation/
    # Instead of P3M-10k: one's own pictures and mattes, two folders with files of equal stems.
    config.data.pictures = ""
    config.data.mattes = ""
    config.data.foreground_cache = ""  # where `p3m estimate` has put foregrounds and backgrounds
    # Privacy-preserving training. P3M-10k publishes faces that are blurred already; a set of one's
    # own may hold ordinary ones ("normal": original_image), to be obfuscated while it streams.
    config.data.faces = "blurred"
    config.data.obfuscation = "none"  # or blur, mosaic, fill
    config.data.obfuscation_strength = 0.24  # share of the face's size, see p3m_jax/faces
    config.data.facemasks = ""  # face masks that stand apart; without any, faces are searched for
    config.data.private_cache = ""  # what is private in each picture; empty: in the run's folder
    config.data.doubtful = "refuse"  # pictures whose faces are not surely found; or leave_out
    config.data.crop_sizes = (512, 768, 1024)
    config.data.output_size = 512
    config.data.validation_pictures = 100  # held out of the training set for model selection
    config.data.synthetic = ConfigDict(
        {"train": 64, "test": 8, "faces": 16, "height": 384, "width": 384}
    )

    # P3M-CP: public faces are pasted onto those of training pictures, see p3m_jax/copy_paste.
    config.copy_paste = ConfigDict()
    config.copy_paste.level = "none"  # or image (P3M-ICP), or feature (P3M-FCP)
    config.copy_paste.probability = 0.5  # that a picture gets a face
    config.copy_paste.variant = "augment"  # or vanilla (no augmentation), fill (resize to fill)
    config.copy_paste.rotation = 30.0  # degrees, to either side
    config.copy_paste.scale = (0.8, 1.2)  # in width and height by themselves
    config.copy_paste.flip = 0.5
    # Faces: a folder of pictures, with or without one of face masks; CelebAMask-HQ's folder; or
    # other pictures of the training set. Empty: the faces that come with the synthetic portraits.
    config.copy_paste.sources = ""
    config.copy_paste.source_masks = ""
    config.copy_paste.source_kind = "folder"  # or celebamask_hq, training_set
    config.copy_paste.source_cache = ""  # masks made from them; empty: in the run's folder
    # Feature level: since when; where (stem, level0, stage1 to stage4, see
    # p3m_jax/models/decoders.py), how many source pictures a step has and of what size, whether
    # they train the layers that they pass, and whether these have the live weights or their moving
    # average ("average").
    config.copy_paste.start_epoch = 50
    config.copy_paste.start_step = 0  # counts instead of start_epoch where it is not 0
    # The papers do not name their layers. Pasted at the stem, all that is pooled and skipped later
    # shows one picture; it adds 0.3 % to the FLOPs of a step or less, see benchmarks/copy_paste.py.
    config.copy_paste.layers = ("stem",)
    config.copy_paste.source_batch = 1
    config.copy_paste.source_size = 256
    config.copy_paste.stop_gradient = True
    config.copy_paste.source_from = "live"

    config.loss = ConfigDict()
    config.loss.composition = True  # needs a foreground and a background for every picture

    # In steps.
    config.log_every = 20
    config.checkpoint_every = 1000
    config.validate_every = 2000
    config.keep_checkpoints = 2  # the latest ones; the best by validation is kept besides
    # Where they lie, a folder or a bucket's (gs://BUCKET/RUN); empty: in the run's folder.
    config.checkpoint_directory = ""
    config.validation_size = 512  # validation pictures are resized to this square
    config.validation_rows = 6  # pictures on a validation sheet
    # Test sets scored when the training has ended, with RESIZE; `evaluate.py` does it any time.
    config.final_test_sets = ()
    # With faces as P3M-10k publishes the set, or all of them "blurred" or "normal".
    config.test_faces = ""
    return config


def demonstration(config: ConfigDict) -> None:
    """Small crops of the synthetic portraits: a run of minutes on two cores, from scratch."""
    config.batch_size = 4
    config.steps = 240
    config.learning_rate = _FROM_SCRATCH.get(config.network, min(_FROM_SCRATCH.values()))
    config.stochastic_depth = False  # too short a run to need regularising
    config.data.crop_sizes = (160, 224, 288)
    config.data.output_size = 128
    config.log_every = 5
    config.checkpoint_every = 60
    config.validate_every = 60
    config.validation_size = 192
    config.final_test_sets = ("P3M-500-P", "P3M-500-NP")


def smoke(config: ConfigDict) -> None:
    """Everything once, as small as possible: proves that the program works, not the network."""
    demonstration(config)
    config.batch_size = 2
    config.steps = 12
    # XLA takes longer to compile convolutions of 512 channels on maps of 2 x 2, the last of 64.
    config.data.crop_sizes = (96, 128)
    config.data.output_size = 96
    config.data.synthetic = ConfigDict(
        {"train": 12, "test": 2, "faces": 8, "height": 192, "width": 192}
    )
    config.log_every = 1
    config.checkpoint_every = 4
    config.validate_every = 6
    config.validation_size = 96
    config.validation_rows = 2


def finetune(config: ConfigDict) -> None:
    """Continues from `config.init_from` on the user's pictures, see docs/fine_tuning.md.

    The recipe for a set of tens to thousands of pictures. The composition loss is off, because it
    needs foregrounds, which would have to be estimated first. If it is turned on, they are
    estimated into the run's folder unless another is named.
    """
    config.epochs = 50
    config.loss.composition = False
    config.log_every = 5
    config.checkpoint_every = 100
    config.validate_every = 100


def image_copy_paste(config: ConfigDict) -> None:
    """P3M-ICP: copy and paste at image level."""
    config.copy_paste.level = "image"


def feature_copy_paste(config: ConfigDict) -> None:
    """P3M-FCP. Pasting starts when a third of the run is done, as after 50 of 150 epochs."""
    config.copy_paste.level = "feature"
    config.copy_paste.start_epoch = config.epochs // 3
    config.copy_paste.start_step = config.steps // 3


def protocol(config: ConfigDict, name: str) -> None:
    """One of the protocols of privacy-preserving training: "B:B", "B:N", "N:B" or "N:N".

    The first letter says what the network trains on, the second what the report tests on: B,
    blurred faces, or N, normal ones. Both train on the same pictures, so nothing else differs. That
    requires a set with ordinary faces, which P3M-10k is not: its plain recipe is the training of
    B:B and B:N.
    """
    train, test = name.split(":")
    config.data.faces = "normal"
    config.data.obfuscation = "blur" if train == "B" else "none"
    config.final_test_sets = ("P3M-500-P",)
    config.test_faces = "blurred" if test == "B" else "normal"


PPT_PROTOCOLS = ("B:B", "B:N", "N:B", "N:N")
_KINDS = (
    {"demonstration": demonstration, "smoke": smoke, "finetune": finetune},
    {"icp": image_copy_paste, "fcp": feature_copy_paste},
    {name: functools.partial(protocol, name=name) for name in PPT_PROTOCOLS},
)
BASES, COPY_PASTE, _ = (tuple(kind) for kind in _KINDS)


def variant(network: str, name: str | None) -> ConfigDict:
    """The configuration of `network` that `--config=FILE:NAME` asks for; `name` as above.

    Raises:
      ValueError: there is no such variant, or two of its parts are of one kind.
    """
    return _changed(recipe(network), name)


def demonstrated(config: ConfigDict) -> ConfigDict:
    """A plain recipe, perhaps with copy and paste or a protocol, as the demonstration of it."""
    return _changed(config.copy_and_resolve_references(), f"demonstration,{config.variant}")


def part_of(config: ConfigDict, kind: tuple[str, ...]) -> str:
    """Which of `kind` (`BASES`, `COPY_PASTE`) the configuration's variant names; "" if none."""
    return next((part for part in config.variant.split(",") if part in kind), "")


def _changed(config: ConfigDict, name: str | None) -> ConfigDict:
    """Applies the parts of a variant, in the order of their kinds."""
    parts = [part for part in (name or "").split(",") if part]
    known = [part for kind in _KINDS for part in kind]
    for part in parts:
        if part not in known:
            raise ValueError(
                f"Unknown variant {part!r} of the configuration; there are "
                f"{', '.join(map(repr, known))}."
            )
    ordered = []
    for kind in _KINDS:
        named = [part for part in parts if part in kind]
        if len(named) > 1:
            raise ValueError(f"The variants {' and '.join(named)} cannot be combined.")
        for part in named:
            kind[part](config)
        ordered += named
    config.variant = ",".join(ordered)
    return config
