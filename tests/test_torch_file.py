"""PyTorch checkpoints read without PyTorch: all forms, and nothing but arrays."""

import itertools
import os
import pickle
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from conftest import GOLDENS
from torch_writer import (
    LEGACY_HEAD,
    Pickler,
    Raw,
    Settings,
    Tensor,
    rebuilt,
    storage_of,
    write_legacy,
    write_zip,
)

from p3m_jax.interchange.torch_file import TorchFileError, read_torch_file
from p3m_jax.interchange.weights_file import WeightsFileError, read_weights

PTH = GOLDENS / "pth"
WRITERS = {"zip": write_zip, "legacy": write_legacy}
EXPECTED = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.array([1, 2, 3], np.float32),
    "bn.num_batches_tracked": np.array(5, np.int64),
    "half": np.full((2, 2), 0.5, np.float16),
    "strided": np.arange(12, dtype=np.float32).reshape(3, 4).T,
}


def assert_equal(arrays, expected):
    assert arrays.keys() == expected.keys()
    for key, array in expected.items():
        assert arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(arrays[key], array)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("bare.pth", "PyTorch zip"),
        ("zip.pth", "PyTorch zip, under state_dict"),
        ("ema.pth", "PyTorch zip, under state_dict_ema"),
        ("dataparallel.pth", "PyTorch zip, under state_dict, behind module."),
        ("legacy.pth.tar", "PyTorch legacy, under state_dict"),
    ],
)
def test_files_that_pytorch_wrote(name, form):
    weights = read_weights(PTH / name)
    assert weights.form == form
    assert_equal(weights.arrays, EXPECTED)
    assert weights.size == (PTH / name).stat().st_size
    assert weights.others == 0


def test_a_hostile_file_is_refused_and_nothing_run():
    with pytest.raises(TorchFileError, match=r"hostile\.pth: contains 'posix\.system'.*refused"):
        read_torch_file(PTH / "hostile.pth")
    assert not Path("/tmp/p3m_pwned").exists()  # what its command would have made


def test_a_truncated_file_says_so():
    with pytest.raises(TorchFileError, match=r"truncated\.pth: is cut off or damaged"):
        read_torch_file(PTH / "truncated.pth")


def test_newer_pickles_in_either_container(tmp_path):
    """From protocol 4 on there are frames, short texts, names from the stack, implicit memos."""
    short = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93\x94)R\x94(\x8c\x01e\x8c\x02hi\x94u"
    for writer in WRITERS.values():
        writer(tmp_path / "new.pth", {"w": ONE, "d": Raw(short)})
        if writer is write_legacy:
            content = (tmp_path / "new.pth").read_bytes()
            frame = b"\x80\x04\x95" + struct.pack("<Q", 13)
            (tmp_path / "new.pth").write_bytes(frame + content[2:])
        content = read_torch_file(tmp_path / "new.pth").content
        assert content["d"] == {"e": "hi"}
        np.testing.assert_array_equal(content["w"], ONE)


@pytest.mark.parametrize("container", WRITERS)
def test_all_kinds_of_numbers_and_views(tmp_path, container):
    rng = np.random.default_rng(0)
    base = rng.normal(size=24).astype(np.float32)
    kinds = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
    arrays = {kind: rng.integers(0, 2, (2, 3)).astype(kind) for kind in kinds}
    arrays["bfloat16"] = rng.normal(size=(3, 1)).astype(ml_dtypes.bfloat16)
    arrays["scalar"], arrays["empty"] = np.float32([7]).reshape(()), np.zeros((0, 4), np.float32)
    views = {
        "alias": (base, 0, (24,), (1,)),
        "turned": (base, 2, (3, 2), (1, 4)),
        "repeated": (base, 5, (4, 3), (0, 1)),
        "last": (base, 23, (1, 1), (7, 9)),
    }
    value = {
        "arrays": arrays | {name: Tensor(*view) for name, view in views.items()} | {"whole": base},
        "args": Settings({"lr": 0.1, "betas": (0.9, 0.99), "names": ["a", None, True]}),
        "score": call("numpy.core.multiarray\nscalar", call("numpy\ndtype", "f8"), "bytes"),
        "epoch": -(2**40),
        "sizes": [call("torch\nSize"), call("torch\nSize", (2, 3))],
    }
    path = tmp_path / "file.pth"
    WRITERS[container](path, value)
    found = read_torch_file(path)
    assert found.container == container
    assert found.content["epoch"] == -(2**40)
    assert found.content["sizes"] == [(), (2, 3)]
    strided = np.lib.stride_tricks.as_strided
    expected = {
        name: strided(storage[offset:], shape, [4 * stride for stride in strides])
        for name, (storage, offset, shape, strides) in views.items()
    }
    read = found.content["arrays"]
    assert_equal(read, arrays | expected | {"whole": base})
    assert np.shares_memory(read["alias"], read["whole"])
    assert not read["whole"].flags.writeable
    with path.open("rb") as file:
        assert len(file.read()) < 6000  # a storage that has many names is there once


def test_of_two_states_the_moving_average_is_taken(tmp_path):
    one, other = np.ones(2, np.float32), np.zeros(2, np.float32)
    write_zip(tmp_path / "a.pth", {"state_dict": {"w": other}, "state_dict_ema": {"w": one}})
    weights = read_weights(tmp_path / "a.pth")
    assert_equal(weights.arrays, {"w": one})
    write_zip(tmp_path / "b.pth", {"model": {"state_dict": {"w": one, "step": 3}}})
    weights = read_weights(tmp_path / "b.pth")
    assert weights.form == "PyTorch zip, under model under state_dict"
    assert weights.others == 1


# ---- files that are wrong


class Attack:
    """Makes a marker file where it is unpickled carelessly."""

    def __reduce__(self):
        return exec, ("open('pwned', 'w')",)


ONE = np.float32([1, 2, 3, 4])


def call(name, *arguments):
    """Instructions that call a global with arguments."""
    code = Pickler().code
    return Raw(f"c{name}\n".encode() + b"(" + b"".join(map(code, arguments)) + b"tR")


def tensor(**changes):
    return Tensor(**{"storage": ONE, "offset": 0, "shape": (4,), "strides": (1,)} | changes)


DEEP = b"]" + b"\x85" * 200_000
REFUSED = {
    "os.system": (call("os\nsystem", "touch pwned"), r"'os\.system'.*refused"),
    "builtins.eval": (call("builtins\neval", "open('pwned','w')"), "builtins"),
    "getattr": (call("builtins\ngetattr", "a", "b"), "getattr"),
    "a global that is not called": (Raw(b"csubprocess\nPopen\n"), "subprocess"),
    "a global put together": (Raw(b"\x8c\x02os\x8c\x06system\x93"), r"'os\.system'"),
    "a name that doubles 40 times": (Raw(b"\x8c\x01xq\x00" + b"h\x00h\x00\x86q\x00" * 40
        + b"\x8c\x01x\x93"), "not text"),
    "a deep name": (Raw(DEEP + b"\x8c\x01x\x93"), "not text"),
    "a size of a thousand": (call("torch\nSize", (1,) * 1000), "not a short list"),
    "a size that is text": (call("torch\nSize", "abc"), "not a short list"),
    "a whitelisted name's attribute": (Raw(b"ccollections\nOrderedDict.fromkeys\n"), "fromkeys"),
    "torch.load": (call("torch.serialization\nload", "x"), r"torch\.serialization\.load"),
    "an old-style instance": (Raw(b"(ios\nsystem\n"), "refused"),
    "an extension code": (Raw(b"\x82\x01"), "refused"),
    "a persistent id as text": (Raw(b"P0\n"), "refused"),
    "build on a function": (Raw(b"ctorch._utils\n_rebuild_tensor_v2\n}b"), "damaged"),
    "a state that is called": (Raw(b"]]R"), "damaged"),
    "negative offset": (tensor(offset=-1), "damaged"),
    "negative stride": (tensor(strides=(-1,)), "damaged"),
    "beyond the storage": (tensor(offset=1), "extends beyond its storage"),
    "strides beyond": (tensor(strides=(2,)), "extends beyond its storage"),
    "absurd size": (tensor(shape=(2**59,), strides=(0,)), "but only"),
    "absurd product": (tensor(shape=(2**50, 2**50), strides=(0, 0)), "but only"),
    "sizes that are no numbers": (tensor(shape=("4",)), "damaged"),
    "fractional sizes": (tensor(shape=(4.0,)), "damaged"),
    "fewer strides": (tensor(strides=()), "damaged"),
    "a storage that is missing": (rebuilt(storage_of(key="7")), "does not contain storage"),
    "a storage outside": (rebuilt(storage_of(key="../data.pkl")), "does not contain storage"),
    "a storage of another size": (
        {"w": ONE, "x": rebuilt(storage_of(count=5))},
        "does not fit its 5 numbers",
    ),
    "a storage of a foreign type": (rebuilt(storage_of(b"cos\nsystem\n")), "refused"),
    "a storage that is text": (rebuilt(Pickler().code("x")), "damaged"),
    "a key that is a list": (Raw(b"}]]s"), "damaged"),
    "a deep key": (Raw(b"}" + DEEP + b"Ns"), "damaged"),
    "a deep value": (Raw(DEEP), "holds no parameters"),
    "a list in itself": (Raw(b"]q\x00h\x00a"), "holds no parameters"),
    "a dictionary in itself": (Raw(b"}q\x00X\x05\x00\x00\x00modelh\x00s"), "holds no parameters"),
    "a key twice": (Raw(b"}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u"), "'a' twice"),
    "an empty stack": (Raw(b"a"), "damaged"),
    "an unknown instruction": (Raw(b"\xff"), "damaged"),
    "a memo that is not there": (Raw(b"h\x09"), "damaged"),
    "a number of 5,000 digits": (Raw(b"L" + b"9" * 5000 + b"L\n"), "damaged"),
    "no text": (Raw(b"X\x02\x00\x00\x00\xff\xfe"), "damaged"),
    "text longer than the file": (Raw(b"X\xff\xff\xff\x7fa"), "damaged"),
    "arrays without names": ([ONE], "holds no parameters"),
    "a name with a line break": ({"a\nb": ONE}, "too long or not printable"),
    "a name that commands a terminal": ({"a\x1b[31m": ONE}, "too long or not printable"),
    "an endless name": ({"a" * 10_000: ONE}, "too long or not printable"),
    "nothing": ({}, "holds no parameters"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_pickles_are_one_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value, sentence = REFUSED[case]
    write_zip(tmp_path / "bad.pth", value)
    with pytest.raises((TorchFileError, WeightsFileError), match=sentence) as caught:
        read_weights(tmp_path / "bad.pth")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'bad.pth'}: ")
    assert len(message) < 500 + len(str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def damage(change):
    """A writer of a right file that is then changed as bytes."""

    def write(path, value):
        write_zip(path, value)
        path.write_bytes(change(path.read_bytes()))

    return write


def flip(content):
    at = content.index(ONE.tobytes())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def renamed(old, new):
    def change(files):
        files[new] = files.pop(old)

    return lambda path, value: write_zip(path, value, change=change)


def twice(path, value):
    write_zip(path, value)
    import warnings
    import zipfile

    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("weights/data/0", b"x" * 16)


def legacy_with(head=LEGACY_HEAD, cut=0, more=b""):
    def write(path, value):
        write_legacy(path, value, head)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - cut] + more)

    return write


CONTAINERS = {
    "empty": (damage(lambda content: b""), "is empty"),
    "a text": (damage(lambda content: b"version https://git-lfs"), "not a PyTorch checkpoint"),
    "a web page": (damage(lambda content: b"\n<!DOCTYPE html>"), "is a web page"),
    "a plain pickle": (damage(lambda content: pickle.dumps(Attack())), "not a PyTorch checkpoint"),
    "a tar archive": (damage(lambda content: b"\0" * 10240), "not a PyTorch checkpoint"),
    "cut in the middle": (damage(lambda c: c[: len(c) // 2]), "is cut off or damaged"),
    "without its last byte": (damage(lambda c: c[:-1]), "is cut off or damaged"),
    "a bit flipped": (damage(flip), "wrong checksum"),
    "another archive": (renamed("weights/data.pkl", "weights/other"), "not a checkpoint"),
    "an archive in an archive": (renamed("weights/data.pkl", "a/b/data.pkl"), "not a checkpoint"),
    "a name that leads elsewhere": (renamed("weights/version", "../../evil"), "outside"),
    "an absolute name": (renamed("weights/version", "/evil"), "outside"),
    "two of one name": (twice, "two entries"),
    "compressed": (lambda p, v: write_zip(p, v, compress=True), "compressed or encrypted"),
    "big-endian": (lambda p, v: write_zip(p, v, byteorder="big"), "big-endian"),
    "legacy, cut off": (legacy_with(cut=5), "is cut off"),
    "legacy, numbers for keys": (lambda p, v: write_legacy(p, v, keys=[0]), "does not hold"),
    "legacy, no list of keys": (lambda p, v: write_legacy(p, v, keys="0"), "does not hold"),
    "legacy, lacking a storage": (lambda p, v: write_legacy(p, v, keys=[]), "does not hold"),
    "legacy, of another version": (legacy_with((LEGACY_HEAD[0], 7, {})), "unknown version"),
    "legacy, big-endian": (legacy_with((*LEGACY_HEAD[:2], {"little_endian": False})), "big-endian"),
    "legacy, hostile head": (legacy_with((LEGACY_HEAD[0], call("os\nsystem", "touch pwned"), {})),
        "refused"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTAINERS)
def test_wrong_containers_are_one_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, sentence = CONTAINERS[case]
    write(tmp_path / "bad.pth", {"w": ONE})
    with pytest.raises(TorchFileError, match=sentence) as caught:
        read_torch_file(tmp_path / "bad.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.pth'}: ")
    assert not (tmp_path / "pwned").exists()


def test_what_is_no_file_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(WeightsFileError, match="not a regular file"):
        read_weights(tmp_path / "pipe.pth")
    with pytest.raises(WeightsFileError, match="is a folder"):
        read_weights(tmp_path)
    with pytest.raises(TorchFileError, match="cannot be read"):
        read_weights(tmp_path / "nowhere.pth")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # of the standard library
@pytest.mark.parametrize("container", WRITERS)
def test_no_damage_gets_through_as_anything_but_one_sentence(container, tmp_path):
    """A byte changed, or the end cut off, anywhere before the numbers."""
    path = tmp_path / "file.pth"
    WRITERS[container](path, {"state_dict": {"w": ONE, "n": np.ones((2, 2), np.int64)}})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    cuts = ((content[:at], at) for at in range(0, len(content), 7))
    changes = itertools.chain(cuts, (
        (content[:at] + struct.pack("B", rng.integers(256)) + content[at + 1 :], at)
        for at in rng.integers(0, len(content), 300)
    ))  # fmt: skip
    refused = 0
    for changed, at in changes:
        path.write_bytes(changed)
        try:
            found = read_weights(path)
        except (TorchFileError, WeightsFileError):
            refused += 1
        else:
            assert all(array.size <= 4 for array in found.arrays.values()), at
    assert refused > 100
