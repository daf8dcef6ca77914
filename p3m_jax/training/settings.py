"""The checked and typed settings of a run, grouped by the parts of the program that use them.

`p3m_jax.training.parsing.parse` makes them from a configuration. configs/common.py explains each
setting.
"""

from dataclasses import dataclass

from p3m_jax.copy_paste.feature import FeaturePaste
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.losses import Weights
from p3m_jax.training.step import Computing


@dataclass(frozen=True)
class Duration:
    """A length of training: a number of steps or, if `steps` is 0, a number of epochs."""

    steps: int
    epochs: int
    batch_size: int

    def in_steps(self, pictures: int) -> int:
        """Returns the length in steps, where `pictures` is the number of pictures in an epoch."""
        return self.steps or -(-self.epochs * pictures // self.batch_size)


@dataclass(frozen=True)
class SyntheticSettings:
    """The synthetic portraits that are drawn if no data set is chosen.

    Attributes:
      train, test, faces: the number of training pictures, of pictures per test set, and of faces to
        copy.
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
    """The data set, and how it is completed.

    Attributes:
      directory: a folder in P3M-10k's layout; None if not given.
      pictures, mattes: the folders of the user's own pictures and their mattes; None if not given.
      facemasks, foreground_cache, private_cache: the folders of face masks, of estimated
        foregrounds and backgrounds, and of face areas; None for the defaults.
      faces: the faces to read, "blurred" or "normal".
      obfuscation: how faces are obfuscated while pictures are read; None: they are not.
      leave_out_doubtful: whether pictures with uncertain faces are left out; if not, they stop the
        run.
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
        """Returns the entries that a checkpoint records about the faces seen in training.

        Returns {} for blurred faces as P3M-10k publishes them.
        """
        if self.obfuscation is not None:
            below = {"below_safe_strength": True} if self.obfuscation.below_safe_strength else {}
            return {"faces": f"obfuscated: {self.obfuscation}", **below}
        return {} if self.faces == "blurred" else {"faces": self.faces}


@dataclass(frozen=True)
class CopyPasteSettings:
    """Copy and paste of faces (P3M-CP).

    Attributes:
      recipe: how faces are pasted; the faces to copy and the first step are added later.
      kind: the origin of the faces to copy, one of `p3m_jax.copy_paste.sources.KINDS`.
      folder, masks: the folders of the faces to copy and of their masks; None if not given.
      cache: the folder that stores masks found by the program; None: in the run's folder.
      features: how faces are pasted among the features (P3M-FCP); None at image level.
      start: how long the run trains before the first step that pastes; only at feature level.
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
    """What a training step computes, and how.

    Attributes:
      batch_size: pictures per step, on all devices together.
      learning_rate, learning_rate_rule: see `p3m_jax.training.state.make_optimizer`.
      stochastic_depth: whether it is on, for networks that have it.
      weights: the weights of the losses.
      average, average_decay: whether a moving average of the weights is kept, and its decay.
      computing: precision, recomputed stages, and batch parts.
      shard_state: whether large arrays are split across the devices.
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
      checkpoint_directory: a folder or a bucket; None: the run's folder.
      validation_size: the side of the squares that are validated, pixels.
      validation_rows: the number of pictures on a validation sheet.
      validate_average: whether the moving average is validated and exported.
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
      init_from: the checkpoint whose weights the run starts from; None: fresh weights.
      length: the length of the whole run.
      crop_sizes, output_size: the sides of the random crops, and the side after resizing, pixels.
      copy_paste: None if copy and paste is off.
      final_test_sets: the test sets that the report covers.
      test_faces: which faces their pictures show, "blurred" or "normal"; None: as published.
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
