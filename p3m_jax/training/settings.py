"""Defines the typed settings of a run, grouped by the parts of the program that use them.

`p3m_jax.training.parsing.parse` checks a configuration and converts it to these settings.
configs/common.py explains each setting.
"""

from dataclasses import dataclass

from p3m_jax.copy_paste.feature import FeaturePaste
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.losses import Weights
from p3m_jax.training.step import Computing


@dataclass(frozen=True)
class Duration:
    """A length of training, in steps or in epochs.

    Attributes:
      steps: the number of steps; 0 if the length is given in epochs.
      epochs: the number of epochs; used only if `steps` is 0.
      batch_size: pictures per step, to convert epochs to steps.
    """

    steps: int
    epochs: int
    batch_size: int

    def in_steps(self, pictures: int) -> int:
        """Returns the length in steps; an epoch has `pictures` pictures, the whole training set."""
        return self.steps or -(-self.epochs * pictures // self.batch_size)


@dataclass(frozen=True)
class SyntheticSettings:
    """The synthetic portraits that are drawn if no data set is chosen.

    Attributes:
      train: the number of training pictures.
      test: the number of pictures in each test set.
      faces: the number of faces to copy.
      height, width: the size of a picture in pixels.
      seed: the run's seed, which also determines the portraits.
    """

    train: int
    test: int
    faces: int
    height: int
    width: int
    seed: int


@dataclass(frozen=True)
class DataSettings:
    """The data set of a run, and the files that are added to it.

    Attributes:
      directory: a data set in P3M-10k's layout; None if not given.
      pictures: the folder of the user's own pictures; None if not given.
      mattes: the folder of their mattes; None if not given.
      facemasks: the folder of face masks; None for the data set's own masks, if it has any.
      foreground_cache: where to store estimated foregrounds and backgrounds; for the meaning
        of None, see `p3m_jax.training.data.prepare_data`.
      private_cache: where to store the face areas that are obfuscated; None for a folder in the
        run's folder.
      faces: "blurred" or "normal": which version of the pictures to read.
      obfuscation: how faces are obfuscated while pictures are read; None for no obfuscation.
      leave_out_doubtful: whether to leave out pictures that need review, because the program found
        no face in them or is unsure about one. If False, such a picture ends the run with an error.
      composition: whether every picture needs a foreground and a background.
      validation_pictures: how many pictures are held out.
      synthetic: the portraits that are drawn if no data set is chosen.
    """

    directory: str | None
    pictures: str | None
    mattes: str | None
    facemasks: str | None
    foreground_cache: str | None
    private_cache: str | None
    faces: str
    obfuscation: Obfuscation | None
    leave_out_doubtful: bool
    composition: bool
    validation_pictures: int
    synthetic: SyntheticSettings

    def describe_faces(self) -> dict[str, object]:
        """Returns JSON values that say how faces looked in training, for a checkpoint's provenance.

        Returns {} if they were blurred as published in P3M-10k.
        """
        if self.obfuscation is not None:
            below = {"below_safe_strength": True} if self.obfuscation.below_safe_strength else {}
            return {"faces": f"obfuscated: {self.obfuscation}", **below}
        return {} if self.faces == "blurred" else {"faces": self.faces}


@dataclass(frozen=True)
class CopyPasteSettings:
    """The settings of copy and paste of faces (P3M-CP).

    Faces are pasted into pictures ("image level", P3M-ICP) or into the network's features
    ("feature level", P3M-FCP).

    Attributes:
      recipe: how faces are pasted. Its `sources` and `first_step` are set later by
        `p3m_jax.training.faces_to_copy.find_copy_paste`.
      kind: the origin of the faces to copy, one of `p3m_jax.copy_paste.sources.KINDS`.
      folder: the folder of the faces to copy; None if not given.
      masks: the folder of their masks; None if not given.
      cache: where to store masks that the program makes; None for a folder in the run's folder.
      features: how faces are pasted into features; None at image level.
      start: how long to train before pasting starts; used only at feature level.
    """

    recipe: CopyPaste
    kind: str
    folder: str | None
    masks: str | None
    cache: str | None
    features: FeaturePaste | None
    start: Duration


@dataclass(frozen=True)
class StepSettings:
    """The settings of a training step.

    Attributes:
      batch_size: pictures per step, on all devices together.
      learning_rate, learning_rate_rule: see `p3m_jax.training.state.make_optimizer`.
      stochastic_depth: whether to use stochastic depth, in networks that have it.
      weights: the weights of the losses.
      average: whether to keep a moving average of the network's weights.
      average_decay: the decay of that average per step.
      computing: precision and memory, see `p3m_jax.training.step.Computing`.
      shard_state: whether large arrays of the state are split across the devices.
    """

    batch_size: int
    learning_rate: float
    learning_rate_rule: str
    stochastic_depth: bool
    weights: Weights
    average: bool
    average_decay: float
    computing: Computing
    shard_state: bool


@dataclass(frozen=True)
class LoopSettings:
    """When and how a run logs, saves and validates.

    Attributes:
      log_every, checkpoint_every, validate_every: the intervals, in steps.
      keep_checkpoints: how many of the latest checkpoints are kept.
      checkpoint_directory: where checkpoints are saved, a folder or an address in a bucket; None
        for the run's folder.
      validation_size: side of the squares to which pictures are resized for validation, in pixels.
      validation_rows: the number of pictures on a validation sheet.
      validate_average: whether to validate and export the moving average of the weights instead of
        the weights themselves.
    """

    log_every: int
    checkpoint_every: int
    validate_every: int
    keep_checkpoints: int
    checkpoint_directory: str | None
    validation_size: int
    validation_rows: int
    validate_average: bool


@dataclass(frozen=True)
class Settings:
    """All settings of a run.

    Attributes:
      network: a name in `p3m_jax.models.network.NETWORKS`.
      seed: the seed of the weights, the batches and the synthetic portraits.
      init_from: the checkpoint whose weights the run starts from; None for random weights.
      length: the length of the whole run.
      data: the settings of the data set.
      crop_sizes: the sides of the random square crops in pixels; each crop has one of them.
      output_size: the side to which each crop is resized, in pixels.
      copy_paste: the settings of copy and paste; None if it is off.
      step: the settings of a training step.
      loop: when and how the run logs, saves and validates.
      final_test_sets: the test sets that the report covers.
      test_faces: "blurred" or "normal": which version of the test pictures to read; None for the
        published version.
    """

    network: str
    seed: int
    init_from: str | None
    length: Duration
    data: DataSettings
    crop_sizes: tuple[int, ...]
    output_size: int
    copy_paste: CopyPasteSettings | None
    step: StepSettings
    loop: LoopSettings
    final_test_sets: tuple[str, ...]
    test_faces: str | None
