"""The authors' PyTorch program, matting one picture at a time, for `prediction.py`.

It needs PyTorch and scikit-image, but not this package. The program expects a GPU and old
libraries, so the few functions that it uses of these are replaced. All computation is the authors'
own: `inference_img_p3m` of its core/infer.py, including resizing.
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
    """Makes a replacement module of that name, and the packages that contain it."""
    package, _, last = name.rpartition(".")
    if package and package not in sys.modules:
        _stand_in(package)
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # PyTorch looks for it
    vars(module).update(values)
    if package:
        setattr(sys.modules[package], last, module)


def stand_in(opencv: bool = True) -> None:
    """Replaces the parts of missing libraries and of a GPU that the program uses.

    Without `opencv`, OpenCV is not replaced, because it is installed and used.
    """
    import torch

    class StochasticDepth(torch.nn.Identity):  # its time is negligible
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
    warnings.simplefilter("ignore")  # PyTorch warns of future changes


def core_module(checkout: str, name: str):
    """Imports a module of the checkout's core/ folder.

    The modules that it imports from there are removed from `sys.modules` again, because another
    checkout has modules of the same names.
    """
    core = str(Path(checkout) / "core")
    sys.dont_write_bytecode = True  # leaves the checkout unchanged
    before, path = set(sys.modules), list(sys.path)
    # Python must not import a program of this folder instead of one of theirs.
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
    """Writes a checkpoint file with generated weights, in the form of the authors' files."""
    import torch

    stand_in()
    infer = core_module(task["checkout"], "infer")
    model = infer.build_model(ARCHITECTURES[task["network"]], pretrained=False)
    sys.path.insert(0, task["goldens"])
    from weights import state_dict

    # The state has two names for ResNet-34's encoder; the goldens have only one of them.
    alias = "encoder" if task["network"] == "resnet34" else "-"
    arrays = state_dict(
        {name: x.shape for name, x in model.state_dict().items() if not name.startswith(alias)}
    )
    recorded = Path(task["goldens"]) / f"forward_{ARCHITECTURES[task['network']]}.npz"
    with np.load(recorded) as file:  # statistics for these weights, and random features
        of_kind = {"batch_stats": arrays, "performer": (features := {})}
        for name in file.files:
            kind, _, key = name.partition("/")
            if kind in of_kind:
                of_kind[kind][key] = file[name]
    tensors, features = ({k: torch.tensor(v) for k, v in x.items()} for x in (arrays, features))
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    torch.save({"state_dict": {**model.state_dict(), **features}}, task["weights"])


def load_network(task: dict):
    """Loads the program's core/infer.py and its network, with weights.

    `task["best"]` selects the memory layout that makes PyTorch fastest. If `task["size"]` is set,
    Swin-T is built for squares of that size: it then keeps its masks, as it does in training.
    """
    import torch

    torch.set_num_threads(task["threads"])
    stand_in()
    infer = core_module(task["checkout"], "infer")
    built_for = {"img_size": task["size"]} if "size" in task and task["network"] == "swin" else {}
    model = infer.build_model(ARCHITECTURES[task["network"]], pretrained=False, **built_for)
    arrays = torch.load(task["weights"])["state_dict"]
    if built_for:  # the masks are not weights, and fit only one size
        kept = {name: mask for name, mask in model.named_buffers() if name.endswith("attn_mask")}
        arrays |= kept
    for name in [name for name in arrays if name.endswith("attn.w")]:  # not in the state dict
        owner = functools.reduce(getattr, name.split(".")[:-1], model)
        owner.w = arrays.pop(name)
    model.load_state_dict(arrays)
    if task["best"]:
        model.to(memory_format=torch.channels_last)
    return infer, model


def matting(task: dict, clock: Clock):
    """Returns a function from a picture to its alpha; the clock runs only during the network."""
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
    """Returns a function that mattes the task's picture with the program, for `sides.serve`."""
    return functools.partial(matting(task, clock), np.load(task["picture"]))


def matte_folder(task: dict) -> None:
    """Mattes a folder, one file after another; prints failures, and then exits with code 1."""
    from PIL import Image

    matte, failed = matting(task, Clock()), 0
    for file in sorted(Path(task["pictures"]).iterdir()):
        try:
            with Image.open(file) as image:
                alpha = matte(np.array(image.convert("RGB")))
        except Exception as error:  # of any kind; the next picture may still work
            print(f"{file.name}: {error}", file=sys.stderr)
            failed += 1
        else:
            written = Image.fromarray((alpha * 255).astype(np.uint8))
            written.save(Path(task["output"]) / f"{file.stem}.png")
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    part_of_program(serve=served(load), prepare=prepare, folder=matte_folder)
