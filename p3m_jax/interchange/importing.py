"""Converts a file of weights with the authors' names into a checkpoint of this program."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from p3m_jax.checkpoints.weights import describe, save_for_inference
from p3m_jax.interchange.names import (
    ENCODER_PREFIXES,
    NAMED_LIKE,
    StateDictError,
    original_key,
    our_name,
)
from p3m_jax.interchange.state_dict import (
    Match,
    complete,
    list_problems,
    match_state_dict,
    our_layout,
    wanted_shapes,
)
from p3m_jax.interchange.weights_file import WeightsFile, WeightsFileError, read_weights
from p3m_jax.models.layers import DTYPE
from p3m_jax.models.network import ENCODERS, Variables, network
from p3m_jax.storage import StrPath

_LEAST_SHARE = 0.1  # of a network's names; a file with fewer of them holds something else
# The entries of a safetensors file's provenance that this program writes, with their types. Any
# other entry is ignored, because anyone may have written it.
_PAST = {"program": str, "run": str, "data": str, "pictures": int, "seed": int, "step": int}
_PAST |= {"init_from": str, "started_from": dict, "imported_from": dict}
_MOST_ARRAYS = 3_000  # the networks have fewer than 1,000
_POOLING = "r34mp"  # in the file name of the authors' ResNet-34 with pooling layers
_STRIDES = "weights of a ResNet-34 with strides, used in a ResNet-34 with pooling layers"


class Contents(NamedTuple):
    """The network to which the keys in a file belong.

    Attributes:
      network: the network's name.
      part: "network", or "encoder" for only a backbone.
      prefix: the prefix to add to each key of the file to get the key in a whole network; may be
        empty.
      share: how many of the part's array names are in the file, as a fraction from 0 to 1.
    """

    network: str
    part: str
    prefix: str
    share: float


class Imported(NamedTuple):
    """The result of importing a file.

    Attributes:
      contents: the network that the file holds.
      variables: the weights and statistics under our names.
      matched: the number of arrays used from the file.
      dropped: the number of values in the file that are not used, as {kind of value: number}.
      drawn: our names of the fixed random projections in ViTAE-S's attention that the file lacks.
        They are drawn with seed 0.
      converted: the dtypes that were converted to `DTYPE`.
      file: the weights file that was read.
      approximate: empty if the weights fit exactly, else a phrase that describes the misfit.
    """

    contents: Contents
    variables: Variables
    matched: int
    dropped: dict[str, int]
    drawn: list[str]
    converted: list[str]
    file: WeightsFile
    approximate: str = ""


def identify(keys: Iterable[str]) -> list[Contents]:
    """Lists the networks that a file with these keys may hold, the most likely one first.

    Narrow networks are not listed, because they have the same keys as the wide ones.
    `_at_its_width` distinguishes them by the shapes of their arrays.
    """
    found = []
    for name in ENCODER_PREFIXES:
        for prefix in ("", ENCODER_PREFIXES[name]):
            names = {_our_name(name, prefix + key) for key in keys}
            whole = wanted_shapes(network(name))
            encoder = wanted_shapes(network(name), "encoder")
            part = "network" if (names & whole.keys()) - encoder.keys() else "encoder"
            wanted = whole if part == "network" else encoder
            found.append(Contents(name, part, prefix, len(names & wanted.keys()) / len(wanted)))
    return sorted(found, key=lambda contents: -contents.share)


def read_variables(
    path: StrPath, model: str | None = None, *, approximate: bool = False
) -> Imported:
    """Reads a file of weights and converts its arrays to our variables.

    P3M-Net's ResNet-34 has pooling layers. An ordinary ResNet-34, such as torchvision's, has
    strides instead. The arrays of both have the same names and shapes, so a file of only a backbone
    does not show which of the two it holds. The file counts as P3M-Net's if its name contains
    "r34mp", like that of the authors' file, or if this program wrote it without `approximate`. Any
    other file of only a ResNet-34 counts as ordinary, and is refused unless `approximate` is on.
    The provenance of the weights then says that the fit is approximate.

    Args:
      path: a PyTorch checkpoint or a safetensors file, of a whole network or only of a backbone.
      model: the network that the file should hold. None identifies it by the names in the file.
      approximate: whether to accept the weights of an ordinary ResNet-34. With any other file, it
        is an error.

    Raises:
      UserError: the file cannot be read, holds something else, or does not fit; or `approximate` is
        on, but not needed. If the file does not fit, the error lists all arrays that are missing,
        unknown, of another shape or not finite.
    """
    if model is not None and model not in ENCODERS:
        raise StateDictError(f"There is no network {model!r}; choose from {', '.join(ENCODERS)}.")
    try:
        file = read_weights(path)
        contents = _require(path, file, model)
        fits = _pools_as_ours(Path(path), file, contents)
        if not fits and not approximate:
            raise WeightsFileError(
                f"{path}: looks like an ordinary ResNet-34, such as torchvision's: it uses strides "
                "where P3M-Net's backbone pools. Use the authors' file "
                "r34mp_pretrained_imagenet.pth.tar (its name must contain r34mp), or add "
                "--approximate to start from this file anyway."
            )
        if fits and approximate:
            raise WeightsFileError(f"{path}: fits exactly; leave out --approximate.")
        imported = _match(Path(path), file, contents)
        return imported if fits else imported._replace(approximate=_STRIDES)
    except MemoryError as error:
        raise WeightsFileError(
            f"{path}: there is not enough memory for its contents; import it on another machine."
        ) from error


def _pools_as_ours(path: Path, file: WeightsFile, contents: Contents) -> bool:
    """Whether the weights are for a network that pools like ours.

    False only for a backbone of ResNet-34 that is not known to have pooling layers.
    """
    if contents.part == "network" or contents.network != "resnet34":
        return True
    ours = file.description.get("network") == contents.network
    past = file.description.get("provenance")
    source = past.get("imported_from") if isinstance(past, dict) else None
    marked = isinstance(source, dict) and "approximate" in source
    return not marked if ours else _POOLING in path.name.lower()


def _require(path: StrPath, file: WeightsFile, model: str | None) -> Contents:
    """Finds the most likely contents of a file; raises an error if unknown or not `model`."""
    best = identify(file.arrays)[0] if len(file.arrays) <= _MOST_ARRAYS else None
    if best is None or best.share < _LEAST_SHARE:
        some = ", ".join(sorted(file.arrays)[:3])
        raise WeightsFileError(
            f"{path}: holds none of the networks {', '.join(ENCODERS)}, only arrays such as "
            f"{some}; choose another file."
        )
    best = _at_its_width(best, file.arrays)
    if model is not None and model != best.network:
        raise StateDictError(
            f"{path}: does not hold {model}, but has {best.share:.0%} of the array names of "
            f"{best.network}; import it with --model {best.network}, or without --model."
        )
    return best


def _at_its_width(contents: Contents, arrays: Mapping[str, np.ndarray]) -> Contents:
    """Returns the contents with the network, wide or narrow, that fits most arrays' shapes."""
    names = {_our_name(contents.network, contents.prefix + key): key for key in arrays}

    def fitting(name: str) -> int:
        shapes = wanted_shapes(network(name), contents.part)
        there = (
            (arrays[names[ours]].shape, shape) for ours, shape in shapes.items() if ours in names
        )
        return sum(math.prod(theirs) == math.prod(shape) for theirs, shape in there)

    narrow = [name for name, wide in NAMED_LIKE.items() if wide == contents.network]
    return contents._replace(network=max([contents.network, *narrow], key=fitting))


def import_weights(
    path: StrPath, output: StrPath, model: str | None = None, *, approximate: bool = False
) -> Imported:
    """Reads a file of weights with `read_variables`, and writes it as a checkpoint to `output`.

    The checkpoint's description records the file that the weights come from. If the file holds only
    a backbone, so does the checkpoint, which can then be used as `config.init_from`.

    Raises:
      UserError: see `read_variables`. Also raised if `output` already exists or cannot be written.
    """
    imported = read_variables(path, model, approximate=approximate)
    contents, file = imported.contents, imported.file
    source: dict[str, Any] = {
        "file": Path(path).name,
        "bytes": file.size,
        "sha256": file.sha256,
        "form": file.form,
        "matched": imported.matched,
        "dropped": imported.dropped,
        "drawn": imported.drawn,
        "converted": imported.converted,
        **({"approximate": imported.approximate} if imported.approximate else {}),
    }
    # If this program wrote the file, the earlier provenance of its weights is kept.
    before = file.description.get("provenance")
    before = before if isinstance(before, dict) else {}
    before = {name: value for name, value in before.items() if type(value) is _PAST.get(name)}
    source |= {name: before.pop(name) for name in ("imported_from", "program") if name in before}
    description = describe(
        contents.network,
        synthetic=file.description.get("synthetic") is True,
        provenance={**before, "imported_from": source},
        part=contents.part,
    )
    save_for_inference(output, imported.variables, description)
    return imported


def _match(path: Path, file: WeightsFile, contents: Contents) -> Imported:
    net = network(contents.network)
    full_keys = _full_keys(contents, file.arrays)
    match = match_state_dict(net, file.arrays, contents.part, full_keys)
    problems = match.problems + _differing_aliases(contents.network, file.arrays, full_keys, match)
    converted = set()
    for name, array in match.found.items():
        if not np.issubdtype(array.dtype, np.inexact) and array.dtype != "bfloat16":
            problems.append(f"{name}: holds {array.dtype} numbers")
            continue
        if array.dtype != DTYPE:
            converted.add(str(array.dtype))
        with np.errstate(over="ignore"):  # overflows are reported below
            match.found[name] = np.asarray(array, DTYPE, order="C")
        wrong = np.count_nonzero(~np.isfinite(match.found[name]))
        if wrong:
            problems.append(f"{name}: {wrong:,} of {array.size:,} numbers are not finite")
    if problems:
        raise StateDictError(
            f"{path}: most resembles {_part(contents)} ({contents.share:.0%} of its names are "
            f"in the file), but there are {len(problems)} mismatches:",
            *list_problems(problems),
        )
    dropped = Counter(_kind(contents.network, full_keys[key]) for key in match.dropped)
    if file.others:
        dropped["values that are not arrays"] = file.others
    variables = complete(net, match)
    found = len(match.found)
    return Imported(contents, variables, found, dict(dropped), match.drawn, sorted(converted), file)


def _full_keys(contents: Contents, keys: Iterable[str]) -> dict[str, str]:
    """Returns {key: the authors' key in a whole network}.

    An alias whose original is not in the file is replaced by the original's key.
    """
    full_keys = {key: contents.prefix + key for key in keys}
    there = set(full_keys.values())
    for key, full in full_keys.items():
        original = original_key(contents.network, full)
        if original is not None and original not in there:
            full_keys[key] = original
    return full_keys


def _differing_aliases(
    name: str, arrays: Mapping[str, np.ndarray], full_keys: dict[str, str], match: Match
) -> list[str]:
    """Returns a phrase for every alias that differs from its original.

    Only arrays that `match` found to have the right shape are compared; others may be larger than
    the memory.
    """
    problems = []
    for key in match.dropped:
        original = original_key(name, full_keys[key])
        ours = _our_name(name, full_keys[key])
        if original is None or ours not in match.found:
            continue
        if not _same(our_layout(arrays[key], ours), match.found[ours]):
            problems.append(f"{key}: differs from {original}, which should be the same array")
    return problems


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)


def _our_name(name: str, key: str) -> str | None:
    try:
        return our_name(name, original_key(name, key) or key)
    except StateDictError:
        return None


def _kind(name: str, key: str) -> str:
    """Returns the kind of a dropped key, for the report."""
    if original_key(name, key):
        return "aliases of the encoder"
    last = key.rpartition(".")[2]
    if last in ("num_batches_tracked", "relative_position_index", "attn_mask"):
        return last
    if "attn.norm1" in key:
        return "attn.norm1, never used"
    return "ImageNet head"


def _part(contents: Contents) -> str:
    return contents.network if contents.part == "network" else f"the encoder of {contents.network}"
