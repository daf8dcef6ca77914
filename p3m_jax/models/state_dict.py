"""The names of the authors' PyTorch checkpoints, and how their arrays become ours.

One table of rules per network: a rule turns the name of a module there into the name of ours (or
into nothing, for what we do not keep), and every key must match exactly one. Whatever does not fit
is reported together.
"""

import re
from collections.abc import Mapping

import numpy as np

from p3m_jax.errors import UserError
from p3m_jax.models.network import Network, Variables

_BLOCK = {"0": "first.convolution", "1": "first.norm", "3": "second.convolution"}
_BLOCK |= {"4": "second.norm", "6": "third.convolution", "7": "third.norm"}
_SEMANTIC_HEAD = _BLOCK | {"6": "third"}


def _decoder_rules(prefix: str) -> list[tuple[str, object]]:
    """The decoders have the same names in all networks, behind `prefix`."""
    fuse = {"conv1": "fuse.convolution", "bn1": "fuse.norm"}
    tfi = fuse | {"transform": "project"}
    sbfi = fuse | {"transform1": "project_matting", "transform2": "project_shallow"}
    dbfi = fuse | {"transform1": "project_semantic", "transform2": "project_deep", "conv2": "side"}
    return [
        (prefix + r"decoder([1-4])_g\.(\d)", ("semantic_decoder.block{0}.{1}", {}, _BLOCK)),
        (prefix + r"decoder([1-4])_l\.(\d)", ("matting_decoder.block{0}.{1}", {}, _BLOCK)),
        (prefix + r"decoder0_g\.(\d)", ("semantic_decoder.head.{0}", _SEMANTIC_HEAD)),
        (prefix + r"decoder0_l\.(\d)", ("matting_decoder.{0}", _BLOCK)),
        (prefix + r"decoder_final_g", ("semantic_decoder.head.logits",)),
        (prefix + r"decoder_final_l", ("matting_decoder.alpha",)),
        (prefix + r"tfi_([0-3])\.(\w+)", ("matting_decoder.tfi{0}.{1}", {}, tfi)),
        (prefix + r"sbfi_([0-2])\.(\w+)", ("matting_decoder.sbfi{0}.{1}", {}, sbfi)),
        (prefix + r"dbfi_([0-2])\.(\w+)", ("semantic_decoder.dbfi{0}.{1}", {}, dbfi)),
    ]


# A rule: a pattern for a whole module name, and what it becomes: a template whose fields are the
# pattern's groups, each looked up in its dictionary where there is one. None drops the key.
_PREVIOUS = {str(k): str(k - 1) for k in range(1, 5)}
RULES = {
    "resnet34": [
        (r"resnet\.conv1", ("encoder.stem",)),
        (r"resnet\.bn1", ("encoder.stem_norm",)),
        (
            r"resnet\.layer([1-4])\.(\d)\.conv([12])",
            ("encoder.stages.{0}.{1}.convolution{2}", _PREVIOUS),
        ),
        (r"resnet\.layer([1-4])\.(\d)\.bn([12])", ("encoder.stages.{0}.{1}.norm{2}", _PREVIOUS)),
        (r"resnet\.layer([1-4])\.(\d)\.downsample\.0", ("encoder.stages.{0}.{1}.skip", _PREVIOUS)),
        (
            r"resnet\.layer([1-4])\.(\d)\.downsample\.1",
            ("encoder.stages.{0}.{1}.skip_norm", _PREVIOUS),
        ),
        (r"resnet\.fc", None),  # the ImageNet head, never used
        (r"encoder[0-4]\..+", None),  # the encoder once more, as aliases
        *_decoder_rules(""),
    ],
    "swin": [
        (r"encoder\.patch_embed\.proj([1-3])", ("encoder.stem{0}", {"1": "0", "2": "1", "3": "2"})),
        (r"encoder\.patch_embed\.norm", ("encoder.stem_norm",)),
        (
            r"encoder\.layers\.(\d)\.blocks\.(\d)\.(norm[12])",
            ("encoder.stages.{0}.blocks.{1}.{2}",),
        ),
        (
            r"encoder\.layers\.(\d)\.blocks\.(\d)\.attn\.(qkv|proj)",
            ("encoder.stages.{0}.blocks.{1}.attention.{2}", {}, {}, {"proj": "projection"}),
        ),
        (
            r"encoder\.layers\.(\d)\.blocks\.(\d)\.attn",  # its own leaf is the bias table
            ("encoder.stages.{0}.blocks.{1}.attention",),
        ),
        (
            r"encoder\.layers\.(\d)\.blocks\.(\d)\.mlp\.(fc[12])",
            ("encoder.stages.{0}.blocks.{1}.{2}", {}, {}, {"fc1": "expand", "fc2": "contract"}),
        ),
        (r"encoder\.layers\.(\d)\.blocks\.(\d)", None),  # its own leaf is the attention mask
        (r"encoder\.layers\.(\d)\.downsample\.norm", ("encoder.norms.{0}",)),
        (r"encoder\.layers\.(\d)\.downsample\.linear", ("encoder.widen.{0}",)),
        (r"encoder\.norm", ("encoder.norms.3",)),
        *_decoder_rules(r"decoder\."),
    ],
}

# What PyTorch calls the arrays of a module; `weight` is a kernel or, in a norm, a scale.
_LEAVES = {"bias": "bias", "running_mean": "mean", "running_var": "variance"}
_LEAVES |= {"relative_position_bias_table": "position_bias"}
_COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")


class StateDictError(UserError):
    """A state dict that is not this network's; the message lists all that does not fit."""


def our_name(network: str, key: str) -> str | None:
    """Our name of the array called `key` there; None for those that we do not keep.

    Raises:
      StateDictError: no rule knows the key, or more than one does.
    """
    module, _, leaf = key.rpartition(".")
    matches = [(re.fullmatch(pattern, module), target) for pattern, target in RULES[network]]
    matches = [(match, target) for match, target in matches if match]
    if len(matches) != 1:
        raise StateDictError(f"{key}: {len(matches)} rules know it, it takes one")
    match, target = matches[0]
    if target is None or leaf in _COMPUTED:
        return None
    template, *lookups = target
    lookups += [{}] * (len(match.groups()) - len(lookups))
    fields = [table.get(text, text) for table, text in zip(lookups, match.groups(), strict=True)]
    ours = template.format(*fields)
    if leaf == "weight":
        is_norm = re.search(r"norm\d?$|norms\.\d$", ours)
        return f"{ours}.scale" if is_norm else f"{ours}.kernel"
    return f"{ours}.{_LEAVES.get(leaf, leaf)}"


def our_layout(array: np.ndarray, name: str) -> np.ndarray:
    """Kernels (out, in, kh, kw) become (kh, kw, in, out) and (out, in) become (in, out)."""
    if not name.endswith(".kernel"):
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def variables_from_state_dict(network: Network, arrays: Mapping[str, np.ndarray]) -> Variables:
    """Our variables from {key: array} of the authors' program.

    Raises:
      StateDictError: listing every key that is unknown, missing, or of another shape.
    """
    wanted = {**network.shapes.parameters, **network.shapes.statistics}
    found, misshapen, problems = {}, set(), []
    for key, array in arrays.items():
        try:
            name = our_name(network.name, key)
        except StateDictError as error:
            problems.append(str(error))
            continue
        if name is None:
            continue
        array = our_layout(np.asarray(array), name)
        if name not in wanted:
            problems.append(f"{key}: would be {name}, which {network.name} does not have")
        elif name in found:
            problems.append(f"{key}: {name} is already taken by another key")
        elif array.shape != wanted[name].shape:
            problems.append(f"{key}: shape {array.shape} for {name}, not {wanted[name].shape}")
            misshapen.add(name)
        else:
            found[name] = array
    problems += [f"{name}: missing" for name in sorted(wanted.keys() - found.keys() - misshapen)]
    if problems:
        raise StateDictError(
            f"This is not a state dict of {network.name}; {len(problems)} things do not fit:\n  "
            + "\n  ".join(problems)
        )
    return Variables(*({name: found[name] for name in part} for part in network.shapes))
