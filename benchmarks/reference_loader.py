"""The authors' loader of training data on PyTorch, for `input_reference.py`.

It runs the authors' own code: `MattingDataset` and `MattingTransform` of core/data.py in a checkout
of JizhiziLi/P3M, in PyTorch's DataLoader as core/train.py creates it. The only change is that it
has no workers, so it uses one core. It needs PyTorch and OpenCV.
"""

import itertools
import os
import random
import types

import numpy as np
from reference_program import core_module, stand_in
from sides import Clock, part_of_program, served


def load(task: dict, clock: Clock):
    """Returns a function that takes samples from the loader, for `sides.serve`."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    stand_in(opencv=False)
    program = core_module(task["checkout"], "data")
    os.chdir(task["set"])  # its paths are relative
    options = types.SimpleNamespace(logging=types.SimpleNamespace(info=lambda text: None))
    dataset = program.MattingDataset(options, program.MattingTransform())
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=0, shuffle=True)

    def take():
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        next(batches)
        samples = 0
        with clock:
            while samples < 8 * task["batches"]:  # the last batch of an epoch may be smaller
                batch = next(batches)
                samples += len(batch[0])
        return np.array([samples, batch[1].mean().item() / 255])

    return take


if __name__ == "__main__":
    part_of_program(serve=served(load))
