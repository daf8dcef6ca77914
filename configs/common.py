"""The published recipe, which all configurations share, and its variants.

A variant is written as names separated by commas, in any order, such as "smoke,icp,B:N". There are
three kinds of names, and a variant may contain one of each:

- a base: `smoke`, `finetune` or `demonstration`;
- a level of copy and paste: `icp` or `fcp`;
- a protocol of privacy-preserving training: `B:B`, `B:N`, `N:B` or `N:N`.

If neither a data set nor a base is given, the training command uses the demonstration as base.
"""

import functools

from ml_collections import ConfigDict

# Learning rates for fresh weights. A rate above 1e-4 disturbs Swin-T's attention for hundreds of
# steps.
_FROM_SCRATCH = {"resnet34": 3e-4, "swin": 1e-4, "vitae_s": 1e-4, "resnet34_quarter": 1e-3}


def recipe(network: str) -> ConfigDict:
    """Returns the configuration that trains `network` with the recipe of both P3M-Net papers.

    The data set must have P3M-10k's layout.
    """
    config = ConfigDict()
    config.network = network
    config.variant = ""
    config.seed = 0
    # A checkpoint of this project whose weights the run starts from; empty: fresh weights. The
    # published results start from a backbone pretrained on ImageNet. With a learning rate of 1e-5,
    # fresh weights hardly learn.
    config.init_from = ""

    config.batch_size = 8
    config.epochs = 150
    config.steps = 0  # number of steps; 0: `epochs` decides
    config.learning_rate = 1e-5
    config.stochastic_depth = True  # only Swin-T has it; the other networks ignore this

    # How the learning rate changes if the batch is not 8: "constant" keeps it, "sqrt" multiplies it
    # by the square root of batch / 8, "linear" by batch / 8. The batch is that of all devices
    # together, so it must be divisible by their number.
    config.learning_rate_rule = "constant"
    config.average_weights = False  # validate and export a moving average of the weights
    config.average_decay = 0.999  # decay of that average, which is kept only if it is needed

    # How a step computes, see docs/scaling.md. Parameters, statistics, norms, softmaxes and losses
    # are always in float32; the precision applies to the maps between them.
    config.precision = "float32"  # or bfloat16, for accelerators
    config.remat = False  # recompute the encoder's stages for the gradient, which saves memory
    config.batch_parts = 1  # compute the batch in so many parts, which saves memory
    config.shard_state = False  # split large parameters and moments across the devices

    config.data = ConfigDict()
    config.data.directory = ""  # the folder of P3M-10k, which contains train/ and validation/
    # Your own pictures and mattes instead of P3M-10k: two folders, matched by file stem.
    config.data.pictures = ""
    config.data.mattes = ""
    config.data.foreground_cache = ""  # folder of foregrounds and backgrounds by `p3m estimate`
    # Privacy-preserving training. In P3M-10k as published, faces are already blurred. A set of your
    # own may have ordinary faces ("normal": in original_image), which are obfuscated while the
    # pictures are read.
    config.data.faces = "blurred"
    config.data.obfuscation = "none"  # or blur, mosaic, fill
    config.data.obfuscation_strength = 0.24  # fraction of the face's size, see p3m_jax/faces
    config.data.facemasks = ""  # separate folder of face masks; without: faces are searched for
    config.data.private_cache = ""  # cache of face areas; empty: in the run's folder
    config.data.doubtful = "refuse"  # if faces are uncertain: stop; or leave_out such pictures
    config.data.crop_sizes = (512, 768, 1024)  # sides of the random crops in pixels
    config.data.output_size = 512  # crops are resized to this square
    config.data.validation_pictures = 100  # held out of the training set for model selection
    config.data.synthetic = ConfigDict(
        {"train": 64, "test": 8, "faces": 16, "height": 384, "width": 384}
    )

    # P3M-CP: public faces are pasted onto the faces of training pictures, see p3m_jax/copy_paste.
    config.copy_paste = ConfigDict()
    config.copy_paste.level = "none"  # or image (P3M-ICP), or feature (P3M-FCP)
    config.copy_paste.probability = 0.5  # probability that a picture gets a pasted face
    config.copy_paste.variant = "augment"  # or vanilla (no augmentation), fill (resize to fill)
    config.copy_paste.rotation = 30.0  # largest angle to either side, degrees
    config.copy_paste.scale = (0.8, 1.2)  # range of factors, drawn separately for width and height
    config.copy_paste.flip = 0.5  # probability of mirroring left to right
    # The faces to copy: a folder of pictures, with or without a folder of their face masks; the
    # folder of CelebAMask-HQ; or other pictures of the training set. Empty: the faces that come
    # with the synthetic portraits.
    config.copy_paste.sources = ""
    config.copy_paste.source_masks = ""
    config.copy_paste.source_kind = "folder"  # or celebamask_hq, training_set
    config.copy_paste.source_cache = ""  # masks of these faces; empty: in the run's folder
    # The following settings are only for the feature level.
    config.copy_paste.start_epoch = 50  # pasting starts after so many epochs
    config.copy_paste.start_step = 0  # pasting starts after so many steps; 0: start_epoch decides
    # Where to paste: stem, level0, stage1 to stage4, see p3m_jax/models/decoders.py. The papers do
    # not name their layers. After pasting at the stem, all later pooled and skipped features show
    # the same pasted picture. Pasting adds at most 0.3 % to the FLOPs of a step, see
    # benchmarks/copy_paste.py.
    config.copy_paste.layers = ("stem",)
    config.copy_paste.source_batch = 1  # number of source pictures per step
    config.copy_paste.source_size = 256  # source pictures are squares of this side, pixels
    config.copy_paste.stop_gradient = True  # source pictures do not train the layers they pass
    config.copy_paste.source_from = "live"  # weights of these layers; or their moving "average"

    config.loss = ConfigDict()
    config.loss.composition = True  # needs a foreground and a background for every picture
    # The weight of each loss in the total; these are the published ones.
    config.loss.weights = ConfigDict(
        {"semantic": 1.0, "detail": 2.0, "fusion": 3.0, "composition": 1.0}
    )

    # The three intervals are in steps.
    config.log_every = 20
    config.checkpoint_every = 1000
    config.validate_every = 2000
    config.keep_checkpoints = 2  # number of latest ones to keep; the best by validation is kept too
    # Folder of the checkpoints, local or in a bucket (gs://BUCKET/RUN); empty: in the run's folder.
    config.checkpoint_directory = ""
    config.validation_size = 512  # validation pictures are resized to this square
    config.validation_rows = 6  # number of pictures on a validation sheet
    # Test sets that are scored with RESIZE at the end of the training. `evaluate.py` can score them
    # at any time.
    config.final_test_sets = ()
    # Faces of these test sets: "blurred", "normal", or empty: as P3M-10k publishes each set.
    config.test_faces = ""
    return config


def demonstration(config: ConfigDict) -> None:
    """Changes `config` to train from scratch on synthetic portraits, in minutes on two cores.

    The crops and the batch are small.
    """
    config.batch_size = 4
    config.steps = 240
    config.learning_rate = _FROM_SCRATCH.get(config.network, min(_FROM_SCRATCH.values()))
    config.stochastic_depth = False  # such a short run needs no regularisation
    config.data.crop_sizes = (160, 224, 288)
    config.data.output_size = 128
    config.log_every = 5
    config.checkpoint_every = 60
    config.validate_every = 60
    config.validation_size = 192
    config.final_test_sets = ("P3M-500-P", "P3M-500-NP")


def smoke(config: ConfigDict) -> None:
    """Changes `config` to a short test run: about three minutes on two cores.

    The run trains from scratch, validates once and scores the test sets. It proves that the program
    works: at the end the network finds people's rough silhouettes. Its scores say nothing about the
    quality of a real training.
    """
    demonstration(config)
    config.steps = 80
    # Fastest in so few steps, but noisy. The average removes the noise.
    config.learning_rate = max(4e-4, config.learning_rate)
    config.average_weights = True
    config.average_decay = 0.9
    # Nearly whole portraits at half size: people are as large and in the same place as in
    # validation and in the test with RESIZE.
    config.data.crop_sizes = (112, 128)
    config.data.output_size = 64
    config.data.validation_pictures = 4
    config.data.synthetic = ConfigDict(
        {"train": 32, "test": 2, "faces": 8, "height": 128, "width": 128}
    )
    config.checkpoint_every = 80
    config.validate_every = 80
    config.validation_size = 64
    config.validation_rows = 4


def finetune(config: ConfigDict) -> None:
    """Changes `config` to fine-tune a checkpoint on the user's own pictures.

    The checkpoint is `config.init_from`. The settings are for sets of tens to thousands of
    pictures, see docs/fine_tuning.md. The composition loss is off, because it needs foregrounds,
    which would have to be estimated first. If the user turns it on, the training command estimates
    them into `config.data.foreground_cache`, or, if this setting is empty, into the run's folder.
    """
    config.epochs = 50
    config.loss.composition = False
    config.log_every = 5
    config.checkpoint_every = 100
    config.validate_every = 100


def image_copy_paste(config: ConfigDict) -> None:
    """Turns on copy and paste at image level (P3M-ICP) in `config`."""
    config.copy_paste.level = "image"


def feature_copy_paste(config: ConfigDict) -> None:
    """Turns on copy and paste at feature level (P3M-FCP) in `config`.

    Pasting starts after a third of the run: in the published recipe, after 50 of 150 epochs.
    """
    config.copy_paste.level = "feature"
    config.copy_paste.start_epoch = config.epochs // 3
    config.copy_paste.start_step = config.steps // 3


def protocol(config: ConfigDict, name: str) -> None:
    """Applies a protocol of privacy-preserving training to `config`.

    `name` is "B:B", "B:N", "N:B" or "N:N". The first letter is for the faces in training, the
    second for the faces in the final test: B means blurred, N means normal.

    The data set must have normal faces. All protocols read the same pictures and blur the faces
    where the protocol requires it, so the protocols differ only in the faces. P3M-10k's training
    set has only blurred faces: train on it without a protocol. Testing that network on blurred
    faces (P3M-500-P) corresponds to B:B, testing it on normal faces (P3M-500-NP) to B:N.
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
    """Returns the configuration of `network` with the variant `name`.

    This module's docstring lists the variants. None and "" mean the published recipe.

    Raises:
      ValueError: the variant contains an unknown name, or two names of the same kind.
    """
    return _changed(recipe(network), name)


def demonstrated(config: ConfigDict) -> ConfigDict:
    """Returns a copy of `config` changed by `demonstration`, which trains on synthetic portraits.

    The variant of `config` must not contain `smoke`, `finetune` or `demonstration`.
    """
    return _changed(config.copy_and_resolve_references(), f"demonstration,{config.variant}")


def part_of(config: ConfigDict, kind: tuple[str, ...]) -> str:
    """Returns the configuration's base or its level of copy and paste, such as "smoke" or "icp".

    `kind` says which: `BASES` or `COPY_PASTE`. Returns "" if the configuration has none.
    """
    return next((part for part in config.variant.split(",") if part in kind), "")


def _changed(config: ConfigDict, name: str | None) -> ConfigDict:
    """Applies the names in a variant to `config`, in the order of their kinds; returns `config`."""
    parts = [part for part in (name or "").split(",") if part]
    known = [part for kind in _KINDS for part in kind]
    for part in parts:
        if part not in known:
            raise ValueError(
                f"Unknown variant {part!r} of the configuration; the variants are "
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
