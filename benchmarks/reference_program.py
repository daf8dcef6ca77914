"""The authors' PyTorch program, matting one picture at a time, for `prediction.py`.

It runs where PyTorch and scikit-image are, and without this package. The program expects a GPU and
old libraries, so the few things that it takes of them are stood in for. What it computes, it
computes itself: `inference_img_p3m` of its core/infer.py, resizing and all.

`serve` and `Clock` here are those of both sides.
"""

import contextlib
import functools
import importlib
import json
import resource
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np

ARCHITECTURES = {"resnet34": "r34", "swin": "swin", "vitae_s": "vitae"}


class Clock:
    """Adds up wall and CPU seconds of the blocks that it is the context of."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self._started[0]
        self.cpu += time.process_time() - self._started[1]


def serve(load, task: dict) -> None:
    """Loads what mattes and says what the process weighs; then mattes once for each line on stdin.

    `load(task, clock)` gives a function from a picture to its alpha that lets the clock run while
    the network does. Answers are lines of JSON: seconds, CPU seconds, and peak memory in bytes.
    """
    channel, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer

    def answer(**values):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**values, "peak": peak}), file=channel, flush=True)

    network = Clock()
    matte, picture = load(task, network), np.load(task["picture"])
    answer()
    for _ in sys.stdin:
        network.wall = network.cpu = 0.0
        with Clock() as whole:
            alpha = matte(picture)
        answer(
            seconds=whole.wall,
            cpu=whole.cpu,
            network_seconds=network.wall,
            network_cpu=network.cpu,
        )
        np.save(task["alpha"], alpha)


def _stand_in(name: str, **values) -> None:
    """A module of that name, and the packages that it is in."""
    package, _, last = name.rpartition(".")
    if package and package not in sys.modules:
        _stand_in(package)
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(values)
    if package:
        setattr(sys.modules[package], last, module)


def _program(checkout: str):
    """Its core/infer.py as a module."""
    import torch

    class StochasticDepth(torch.nn.Identity):  # it is off outside training
        def __init__(self, rate=0.0):
            super().__init__()

    def normalize(mean, std):
        mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        return lambda picture: (picture - mean) / std

    _stand_in("cv2")
    _stand_in("tqdm", tqdm=iter)
    _stand_in("torchvision.transforms", Normalize=normalize)
    _stand_in("timm.models.registry", register_model=lambda function: function)
    _stand_in(
        "timm.models.layers",
        DropPath=StochasticDepth,
        to_2tuple=lambda value: value if isinstance(value, tuple) else (value, value),
        trunc_normal_=torch.nn.init.trunc_normal_,
    )
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
    sys.dont_write_bytecode = True  # the checkout stays as it is
    sys.path.insert(0, str(Path(checkout) / "core"))
    return importlib.import_module("infer")


def prepare(task: dict) -> None:
    """Writes a checkpoint file with generated weights, as the authors' files are."""
    import torch

    model = _program(task["checkout"]).build_model(ARCHITECTURES[task["network"]], pretrained=False)
    sys.path.insert(0, task["goldens"])
    from weights import state_dict

    # ResNet-34's encoder is there under two names, of which the goldens know one.
    alias = "encoder" if task["network"] == "resnet34" else "-"
    arrays = state_dict(
        {name: x.shape for name, x in model.state_dict().items() if not name.startswith(alias)}
    )
    recorded = Path(task["goldens"]) / f"forward_{ARCHITECTURES[task['network']]}.npz"
    with np.load(recorded) as file:  # statistics that suit the weights, and random features
        of_kind = {"batch_stats": arrays, "performer": (features := {})}
        for name in file.files:
            kind, _, key = name.partition("/")
            if kind in of_kind:
                of_kind[kind][key] = file[name]
    tensors, features = ({k: torch.tensor(v) for k, v in x.items()} for x in (arrays, features))
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    torch.save({"state_dict": {**model.state_dict(), **features}}, task["weights"])


def load(task: dict, clock: Clock):
    """The program with its weights; `task["best"]` sets what makes PyTorch fastest."""
    import torch

    torch.set_num_threads(task["threads"])
    warnings.simplefilter("ignore")  # of what a later PyTorch will ask for
    infer = _program(task["checkout"])
    architecture = ARCHITECTURES[task["network"]]
    model = infer.build_model(architecture, pretrained=False)
    arrays = torch.load(task["weights"])["state_dict"]
    for name in [name for name in arrays if name.endswith("attn.w")]:  # not in its state
        owner = functools.reduce(getattr, name.split(".")[:-1], model)
        owner.w = arrays.pop(name)
    model.load_state_dict(arrays)
    model.eval()
    if task["best"]:
        model.to(memory_format=torch.channels_last)

    def network(pictures):
        with clock:
            return model(pictures)

    options = types.SimpleNamespace(
        arch=architecture, dataset="P3M10K", test_choice=task["strategy"].upper()
    )

    def matte(picture):
        with torch.inference_mode() if task["best"] else torch.no_grad():
            return infer.inference_img_p3m(options, network, picture)

    return matte


if __name__ == "__main__":
    what, text = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        prepare(json.loads(text)) if what == "prepare" else serve(load, json.loads(text))
