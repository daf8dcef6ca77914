"""The authors' PyTorch program, matting one picture at a time, for `prediction.py`.

It runs where PyTorch and scikit-image are, and without this package. The program expects a GPU and
old libraries, so the few things that it takes of them are stood in for. What it computes, it
computes itself: `inference_img_p3m` of its core/infer.py, resizing and all.
"""

import functools
import importlib
import importlib.machinery
import sys
import types
import warnings
from pathlib import Path

import numpy as np
from sides import HERE, Clock, part_of_program, served

ARCHITECTURES = {"resnet34": "r34", "swin": "swin", "vitae_s": "vitae"}


def _stand_in(name: str, **values) -> None:
    """A module of that name, and the packages that it is in."""
    package, _, last = name.rpartition(".")
    if package and package not in sys.modules:
        _stand_in(package)
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # PyTorch looks for it
    vars(module).update(values)
    if package:
        setattr(sys.modules[package], last, module)


def stand_in(opencv: bool = True) -> None:
    """Stands in for what the program takes of libraries that are not there, and of a GPU.

    Without `opencv` that library is there and at work.
    """
    import torch

    class StochasticDepth(torch.nn.Identity):  # its time does not show beside the network's
        def __init__(self, rate=0.0):
            super().__init__()

    def normalize(mean, std):
        mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        return lambda picture: (picture - mean) / std

    if opencv:
        _stand_in("cv2")
    _stand_in("tqdm", tqdm=iter)
    _stand_in("torchvision.models")
    _stand_in("torchvision.transforms", Normalize=normalize)
    _stand_in("timm.models.registry", register_model=lambda function: function)
    _stand_in(
        "timm.models.layers",
        DropPath=StochasticDepth,
        to_2tuple=lambda value: value if isinstance(value, tuple) else (value, value),
        trunc_normal_=torch.nn.init.trunc_normal_,
    )
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
    warnings.simplefilter("ignore")  # of what a later PyTorch will ask for


def core_module(checkout: str, name: str):
    """A module of the checkout's core/ folder.

    What it imports from there is forgotten again: another checkout calls its modules the same.
    """
    core = str(Path(checkout) / "core")
    sys.dont_write_bytecode = True  # the checkout stays as it is
    before, path = set(sys.modules), list(sys.path)
    # A program of this folder must not be taken for one of theirs.
    sys.path[:] = [core] + [entry for entry in path if Path(entry).resolve() != HERE]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = path
        for module in set(sys.modules) - before:
            if core in str(getattr(sys.modules[module], "__path__", "")) or (
                getattr(sys.modules[module], "__file__", None) or ""
            ).startswith(core):
                del sys.modules[module]


def prepare(task: dict) -> None:
    """Writes a checkpoint file with generated weights, as the authors' files are."""
    import torch

    stand_in()
    infer = core_module(task["checkout"], "infer")
    model = infer.build_model(ARCHITECTURES[task["network"]], pretrained=False)
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


def load_network(task: dict):
    """The program's core/infer.py and its network, with weights.

    `task["best"]` sets the memory layout that makes PyTorch fastest. Swin-T is built for squares
    of `task["size"]`: it then keeps its masks, as it does when it is trained.
    """
    import torch

    torch.set_num_threads(task["threads"])
    stand_in()
    infer = core_module(task["checkout"], "infer")
    built_for = {"img_size": task["size"]} if "size" in task and task["network"] == "swin" else {}
    model = infer.build_model(ARCHITECTURES[task["network"]], pretrained=False, **built_for)
    arrays = torch.load(task["weights"])["state_dict"]
    if built_for:  # the masks are no weights, and fit one size
        kept = {name: mask for name, mask in model.named_buffers() if name.endswith("attn_mask")}
        arrays |= kept
    for name in [name for name in arrays if name.endswith("attn.w")]:  # not in its state
        owner = functools.reduce(getattr, name.split(".")[:-1], model)
        owner.w = arrays.pop(name)
    model.load_state_dict(arrays)
    if task["best"]:
        model.to(memory_format=torch.channels_last)
    return infer, model


def matting(task: dict, clock: Clock):
    """A function from a picture to its alpha; the clock runs while the network does."""
    import torch

    infer, model = load_network(task)
    model.eval()

    def network(pictures):
        with clock:
            return model(pictures)

    options = types.SimpleNamespace(
        arch=ARCHITECTURES[task["network"]],
        dataset="P3M10K",
        test_choice=task["strategy"].upper(),
    )

    def matte(picture):
        with torch.inference_mode() if task["best"] else torch.no_grad():
            return infer.inference_img_p3m(options, network, picture)

    return matte


def load(task: dict, clock: Clock):
    """The program matting the task's picture, for `sides.serve`."""
    return functools.partial(matting(task, clock), np.load(task["picture"]))


def matte_folder(task: dict) -> None:
    """Mattes a folder, one file after the other; what fails is said, and the exit code is 1."""
    from PIL import Image

    matte, failed = matting(task, Clock()), 0
    for file in sorted(Path(task["pictures"]).iterdir()):
        try:
            with Image.open(file) as image:
                alpha = matte(np.array(image.convert("RGB")))
        except Exception as error:  # whatever it is, the next picture may be well
            print(f"{file.name}: {error}", file=sys.stderr)
            failed += 1
        else:
            written = Image.fromarray((alpha * 255).astype(np.uint8))
            written.save(Path(task["output"]) / f"{file.stem}.png")
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    part_of_program(serve=served(load), prepare=prepare, folder=matte_folder)
