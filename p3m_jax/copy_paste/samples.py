"""P3M-CP in the input pipeline: implements `p3m_jax.input.pasting.Pasting` for a run's recipe."""

from collections.abc import Sequence

from p3m_jax.copy_paste import geometry
from p3m_jax.copy_paste.image import copy_a_face, source_files
from p3m_jax.copy_paste.recipe import CopyPaste
from p3m_jax.copy_paste.shared import lay_a_face, shared_faces
from p3m_jax.data.sets import Example
from p3m_jax.faces.obfuscation import Obfuscation
from p3m_jax.input import Tensor
from p3m_jax.input.contents import check_record
from p3m_jax.input.pasting import Sample
from p3m_jax.pictures.images import read_picture
from p3m_jax.pictures.sizes import require_size


class FacePasting:
    """Pastes the faces of `copy_paste` into samples of `examples`.

    At image level, this object pastes them into the pictures and their foregrounds, see
    `p3m_jax.copy_paste.image`. At feature level, it only adds the batch entries with which the
    network pastes them, see `p3m_jax.copy_paste.feature`.

    Args:
      seed: the run's seed.
      obfuscation: how training pictures are obfuscated. It is also applied to faces that are copied
        from training pictures.
    """

    def __init__(
        self,
        copy_paste: CopyPaste,
        examples: Sequence[Example],
        *,
        seed: int,
        obfuscation: Obfuscation | None = None,
    ) -> None:
        self._recipe, self._seed, self._obfuscation = copy_paste, seed, obfuscation
        self._files = source_files(copy_paste, examples)

    def wants(self, sample: Sample) -> Tensor:
        """Whether a face is to be pasted into the sample, bool ()."""
        return self._draws(sample).paste

    def paste(self, contents: dict, sample: Sample) -> dict:
        """Returns the entries of a sample after pasting.

        At image level, picture and foreground contain the pasted face. At feature level, the
        entries for the network are added. `contents` are the entries before pasting, the result of
        `p3m_jax.input.pipeline.load_sample`.
        """
        draws, recipe = self._draws(sample), self._recipe
        if self.shares:
            return lay_a_face(
                contents,
                self._files,
                sample.step,
                sample.place,
                sample.example,
                draws,
                recipe,
                self._seed,
                self._obfuscation,
            )
        source = geometry.source_at(sample.step, sample.place, len(recipe.sources), self._seed)
        return copy_a_face(
            contents, self._files, source, sample.example, draws, recipe, self._obfuscation
        )

    @property
    def shares(self) -> bool:
        """Whether the samples of a step share source pictures, as they do at feature level."""
        return self._recipe.level == "feature"

    def shared(self, step: Tensor) -> dict:
        """Reads the source pictures of a step and their masks, see `p3m_jax.copy_paste.feature`."""
        return shared_faces(step, self._files, self._recipe, self._seed, self._obfuscation)

    def diagnose(self, step: int, place: int) -> None:
        """Raises a `UserError` if a source that may be pasted into a sample is invalid.

        The sample is number `place` in the batch of `step`, counted from 0 over all processes.
        """
        sources = self._recipe.sources
        first = int(geometry.source_at(step, place, len(sources), self._seed))
        for source in (sources[first], sources[(first + 1) % len(sources)]):
            check_record(source.picture)
            size, of_mask = read_picture(source.picture).shape[:2], source.read_mask().shape
            require_size(source.mask, of_mask, size)

    def _draws(self, sample: Sample) -> geometry.PastingDraws:
        draws = geometry.draw(self._seed, sample.number, self._recipe)
        return draws._replace(paste=draws.paste & (sample.step >= self._recipe.first_step))


def find_pasting(
    copy_paste: CopyPaste | None,
    examples: Sequence[Example],
    *,
    seed: int,
    obfuscation: Obfuscation | None = None,
) -> FacePasting | None:
    """Returns the `FacePasting` of a run, or None if `copy_paste` is None."""
    if copy_paste is None:
        return None
    return FacePasting(copy_paste, examples, seed=seed, obfuscation=obfuscation)
