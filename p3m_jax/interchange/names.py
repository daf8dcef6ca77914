"""Translates between the array names in the authors' PyTorch checkpoints and ours.

Each network has one table of name pairs: the authors' name and ours. `{level}` stands for a number
that is the same in both names of a pair. `{level+1}` stands for this number plus one. Our name is
None if we do not keep the array. Every name must match exactly one pair.
"""

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from p3m_jax.errors import UserError

_BLOCK = {0: "first.convolution", 1: "first.norm", 3: "second.convolution", 4: "second.norm"}
_BLOCK |= {6: "third.convolution", 7: "third.norm"}
_HEAD = {index: _BLOCK[index] for index in (0, 1, 3, 4)}
_FUSE = {"conv1": "fuse.convolution", "bn1": "fuse.norm"}
_TFI = {"transform": "project", **_FUSE}
_SBFI = {"transform1": "project_matting", "transform2": "project_shallow", **_FUSE}
_DBFI = {"transform1": "project_semantic", "transform2": "project_deep", "conv2": "side", **_FUSE}


def _decoders(prefix: str) -> list[tuple[str, str]]:
    """Returns the pairs of names of the decoders' layers.

    The authors' names after `prefix` are the same in all networks.
    """
    layers = [("decoder_final_g", "semantic_decoder.head.logits")]
    layers += [("decoder_final_l", "matting_decoder.alpha")]
    layers += [("decoder0_g.6", "semantic_decoder.head.third")]
    for index, ours in _HEAD.items():
        layers += [(f"decoder0_g.{index}", f"semantic_decoder.head.{ours}")]
        layers += [(f"decoder0_l.{index}", f"matting_decoder.{ours}")]
    for index, ours in _BLOCK.items():
        block = f"block{{level+1}}.{ours}"
        layers += [(f"decoder{{level+1}}_g.{index}", f"semantic_decoder.{block}")]
        layers += [(f"decoder{{level+1}}_l.{index}", f"matting_decoder.{block}")]
    modules = {"tfi": ("matting", _TFI), "sbfi": ("matting", _SBFI), "dbfi": ("semantic", _DBFI)}
    for module, (decoder, names) in modules.items():
        for theirs, ours in names.items():
            layers += [
                (f"{module}_{{level}}.{theirs}", f"{decoder}_decoder.{module}{{level}}.{ours}")
            ]
    return [(prefix + theirs, ours) for theirs, ours in layers]


_WEIGHT_BIAS = ("weight", "bias")

# Layers that own arrays: convolutions, linear layers and norms.
LAYERS: dict[str, list[tuple[str, str]]] = {
    "resnet34": [
        ("resnet.conv1", "encoder.stem"),
        ("resnet.bn1", "encoder.stem_norm"),
        ("resnet.layer{stage+1}.{block}.conv{i}", "encoder.stages.{stage}.{block}.convolution{i}"),
        ("resnet.layer{stage+1}.{block}.bn{i}", "encoder.stages.{stage}.{block}.norm{i}"),
        ("resnet.layer{stage+1}.{block}.downsample.0", "encoder.stages.{stage}.{block}.skip"),
        ("resnet.layer{stage+1}.{block}.downsample.1", "encoder.stages.{stage}.{block}.skip_norm"),
        *_decoders(""),
    ],
    "swin": [
        ("encoder.patch_embed.proj{i+1}", "encoder.stem{i}"),
        ("encoder.patch_embed.norm", "encoder.stem_norm"),
        *(
            (
                f"encoder.layers.{{stage}}.blocks.{{i}}.{theirs}",
                f"encoder.stages.{{stage}}.blocks.{{i}}.{ours}",
            )
            for theirs, ours in (
                ("norm1", "norm1"),
                ("norm2", "norm2"),
                ("attn.qkv", "attention.qkv"),
                ("attn.proj", "attention.projection"),
                ("mlp.fc1", "expand"),
                ("mlp.fc2", "contract"),
            )
        ),
        *((f"encoder.layers.{i}.downsample.norm", f"encoder.norms.{i}") for i in range(3)),
        ("encoder.norm", "encoder.norms.3"),
        ("encoder.layers.{stage}.downsample.linear", "encoder.widen.{stage}"),
        *_decoders("decoder."),
    ],
    "vitae_s": [
        ("encoder.layers.0.RC.proj{i+1}", "encoder.stem{i}"),
        ("encoder.layers.0.RC.norm", "encoder.stem_norm"),
        ("encoder.layers.{stage+1}.RC.norm", "encoder.norms.{stage}"),
        ("encoder.layers.{stage+1}.RC.linear", "encoder.widen.{stage}"),
        *(
            (
                f"encoder.layers.{{stage}}.NC.{{cell}}.{theirs}",
                f"encoder.stages.{{stage}}.{{cell}}.{ours}",
            )
            for theirs, ours in (
                ("norm1", "norm1"),
                ("norm2", "norm2"),
                ("attn.kqv", "attention.kqv"),
                ("attn.qkv", "attention.qkv"),
                ("attn.proj", "attention.projection"),
                ("mlp.fc1", "expand"),
                ("mlp.fc2", "contract"),
                ("PCM.0", "parallel.convolution0"),
                ("PCM.1", "parallel.norm0"),
                ("PCM.3", "parallel.convolution1"),
                ("PCM.4", "parallel.norm1"),
                ("PCM.6", "parallel.convolution2"),
            )
        ),
        *_decoders("decoder."),
    ],
}

# Narrow networks have the array names of a wide one.
NAMED_LIKE = {"resnet34_quarter": "resnet34"}

# The prefixes that keys have in a whole network and lack in a file of only the backbone.
ENCODER_PREFIXES = {"resnet34": "resnet.", "swin": "encoder.", "vitae_s": "encoder."}

# Aliases: keys for an array that the same file also holds under another key. Each pair is the
# beginning of the alias and the beginning of the original key.
ALIASES = {
    "resnet34": [
        ("encoder0.0.", "resnet.conv1."),
        ("encoder0.1.", "resnet.bn1."),
        ("encoder1.0.", "resnet.layer1."),
        *((f"encoder{stage}.", f"resnet.layer{stage}.") for stage in (2, 3, 4)),
    ],
}

# Arrays that belong to none of these layers, by their full names; * matches anything.
ARRAYS: dict[str, list[tuple[str, str | None]]] = {
    "resnet34": [
        *((f"resnet.fc.{array}", None) for array in _WEIGHT_BIAS),  # the ImageNet head, never used
        *((f"{alias}*", None) for alias, _ in ALIASES["resnet34"]),  # second copy of the encoder
    ],
    "swin": [
        (
            "encoder.layers.{stage}.blocks.{i}.attn.relative_position_bias_table",
            "encoder.stages.{stage}.blocks.{i}.attention.position_bias",
        ),
        # Computed from the window's size.
        ("encoder.layers.{stage}.blocks.{i}.attn.relative_position_index", None),
        ("encoder.layers.{stage}.blocks.{i}.attn_mask", None),
        # The ImageNet head, which only files of the backbone have.
        *((f"encoder.head.{array}", None) for array in _WEIGHT_BIAS),
    ],
    "vitae_s": [
        # No file of the authors has these: their program draws them at random at every start.
        ("encoder.layers.0.NC.{cell}.attn.w", "encoder.stages.0.{cell}.attention.features"),
        *((f"encoder.layers.0.NC.{{cell}}.attn.norm1.{a}", None) for a in _WEIGHT_BIAS),  # unused
        *((f"encoder.head.{array}", None) for array in _WEIGHT_BIAS),  # the ImageNet head, unused
    ],
}

_LAYER_ARRAYS: dict[str, str | None] = {"weight": "kernel", "bias": "bias"}
_NORM_ARRAYS: dict[str, str | None] = {"weight": "scale", "bias": "bias", "running_mean": "mean"}
_NORM_ARRAYS |= {"running_var": "variance", "num_batches_tracked": None}
_NORM = re.compile(r".*[._]norm(\d|\{i\})?|.*\.norms\.[^.]+")  # our names of norms
_FIELD = re.compile(r"\{(\w+)(\+1)?\}")


class StateDictError(UserError):
    """A state dict does not belong to this network; the message lists everything that is wrong."""


class _Template:
    """One side of a pair; reads the numbers in a name, or writes a name with given numbers."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.firsts = {field[1]: 1 if field[2] else 0 for field in _FIELD.finditer(text)}
        numbered = _FIELD.sub(lambda field: f"<{field[1]}>", text)
        pattern = re.escape(numbered).replace(r"\*", ".+")
        self.pattern = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>0|[1-9][0-9]?)", pattern))

    def read(self, name: str) -> dict[str, int] | None:
        """Returns the numbers in `name`, counted from zero; None if the name does not match."""
        match = self.pattern.fullmatch(name)
        if not match:
            return None
        numbers = {key: int(text) - self.firsts[key] for key, text in match.groupdict().items()}
        return numbers if all(number >= 0 for number in numbers.values()) else None

    def write(self, numbers: Mapping[str, int]) -> str:
        """Returns the name with these numbers."""
        return _FIELD.sub(lambda field: str(numbers[field[1]] + bool(field[2])), self.text)


class _Pair(NamedTuple):
    theirs: _Template
    ours: _Template | None


@functools.cache
def _pairs(network: str) -> tuple[_Pair, ...]:
    """Returns the pairs of names of all arrays of a network."""
    wide = NAMED_LIKE.get(network, network)
    names = list(ARRAYS[wide])
    for theirs, ours in LAYERS[wide]:
        arrays = _NORM_ARRAYS if _NORM.fullmatch(ours) else _LAYER_ARRAYS
        names += [
            (f"{theirs}.{their_array}", our_array and f"{ours}.{our_array}")
            for their_array, our_array in arrays.items()
        ]
    return tuple(
        _Pair(_Template(theirs), None if ours is None else _Template(ours))
        for theirs, ours in names
    )


def our_name(network: str, key: str) -> str | None:
    """Returns our name for the array that the authors call `key`; None if we do not keep it.

    Raises:
      StateDictError: the key matches no name in the network's table of arrays, or several names.
    """
    read = ((pair, pair.theirs.read(key)) for pair in _pairs(network))
    found = [(pair, numbers) for pair, numbers in read if numbers is not None]
    if len(found) != 1:
        raise StateDictError(f"{key}: {len(found)} rules match it instead of one")
    pair, numbers = found[0]
    return None if pair.ours is None else pair.ours.write(numbers)


def their_name(network: str, name: str) -> str:
    """Returns the key that the authors' checkpoints use for the array that we call `name`.

    Raises:
      StateDictError: `name` matches no name in the network's table of arrays, or several names.
    """
    read = ((pair, pair.ours.read(name)) for pair in _pairs(network) if pair.ours)
    found = [(pair, numbers) for pair, numbers in read if numbers is not None]
    if len(found) != 1:
        raise StateDictError(f"{name}: {len(found)} rules match it instead of one")
    pair, numbers = found[0]
    return pair.theirs.write(numbers)


def original_key(network: str, key: str) -> str | None:
    """Returns the original key of an alias; None if `key` is no alias.

    An alias is a key for an array that the same file also holds under another key, the original.
    """
    for alias, original in ALIASES.get(NAMED_LIKE.get(network, network), ()):
        if key.startswith(alias):
            return original + key.removeprefix(alias)
    return None
