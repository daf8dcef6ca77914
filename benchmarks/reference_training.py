"""The authors' training step on PyTorch, for `training.py`.

The networks are those of ViTAE-Transformer/P3M-Net, which was published without its training
program. The training program of JizhiziLi/P3M was published, and the papers train all networks in
the same way. So each step is one call of `train` of its core/train.py, with a loader that holds one
batch. It sets the gradients to zero, runs the forward pass, the ten losses, the backward pass and
the update by torch.optim.Adam, and reads the loss for the log. Batches are made from 8-bit maps as
in its core/data.py.
"""

import types

import numpy as np
from reference_program import core_module, load_network
from sides import Clock, part_of_program, served


def load(task: dict, clock: Clock):
    """Returns a function that trains one step and returns the loss terms, for `sides.serve`."""
    import torch

    _, model = load_network(task)
    program = core_module(task["training_checkout"], "train")
    fused = {"fused": True} if task["best"] else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=task["learning_rate"], **fused)
    terms = []

    def telling(loss):
        def told(*arguments):
            terms.append(value := loss(*arguments))
            return value

        return told

    for name in [name for name in vars(program) if name.startswith("get_") and "_loss" in name]:
        setattr(program, name, telling(getattr(program, name)))
    batch = as_loaded(task, torch)
    options = types.SimpleNamespace(
        nEpochs=1, logging=types.SimpleNamespace(info=lambda text: None)
    )

    def step():
        terms.clear()
        program.train(options, model, optimizer, [batch], 1)
        return np.array([term.item() for term in terms])

    return step


def as_loaded(task: dict, torch) -> list:
    """The batch as the program's loader returns it: floats, normalised colours, channels first."""
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with np.load(task["batch"]) as file:
        maps = {
            name: torch.from_numpy(file[name].astype(np.float32)).permute(0, 3, 1, 2).contiguous()
            for name in file.files
        }
    for name in ("picture", "foreground", "background"):
        maps[name] = (maps[name] / 255 - mean) / std
    if task["best"]:
        maps = {name: x.contiguous(memory_format=torch.channels_last) for name, x in maps.items()}
    return [maps[name] for name in ("picture", "matte", "foreground", "background", "trimap")]


if __name__ == "__main__":
    part_of_program(serve=served(load))
