"""No PyTorch checkpoint takes more time or memory than its size explains."""

import copy
import resource
import time
import zipfile

import numpy as np
import pytest
from torch_writer import Pickler, Raw, Tensor, rebuilt, storage_of, write_legacy, write_zip

from p3m_jax.interchange.torch_file import TorchFileError
from p3m_jax.interchange.weights_file import read_weights

ONE = np.float32([1, 2, 3, 4])


def listed(count):
    """A writer that lists an archive's last entry so many times, under other names."""

    def write(path, value):
        write_zip(path, value)
        with zipfile.ZipFile(path, "a") as archive:
            last = archive.filelist[-1]
            for number in range(count):
                again = copy.copy(last)
                again.filename = again.orig_filename = f"weights/data/9{number}"
                archive.filelist.append(again)
            archive._didModify = True

    return write


def long_keys(step, count=200_000):
    """A dictionary of so many whole numbers, multiples of `step`."""
    keys = (Pickler().code(step * number) + b"N" for number in range(1, count))
    return Raw(b"}(" + b"".join(keys) + b"u")


ALL = 2**61 - 1  # all multiples of it have the hash 0
NAMED = Tensor(np.ones(2**16, np.float32), 0, (2**16,), (1,))
EXPENSIVE = {
    "an array compared with a text": (
        write_zip,
        {"w": ONE, "x": rebuilt(b"(" + rebuilt(storage_of()).code + b"NNNNtQ")},
        "not a tensor storage",
    ),
    "a small storage as large tensors": (
        write_zip,
        {str(i): Tensor(ONE, 0, (2**30,), (0,)) for i in range(9)},
        "but only",
    ),
    "a storage named 100 times": (
        write_zip,
        {str(i): NAMED for i in range(100)},
        "far more than a checkpoint",
    ),
    "the same, legacy": (
        write_legacy,
        {str(i): NAMED for i in range(100)},
        "far more than a checkpoint",
    ),
    "keys of one hash": (write_zip, long_keys(ALL), "too large a number"),
    "a memo of one hash": (write_zip, Raw(b"N" + b"p%d\n" % ALL), "far too large"),
    "many keys": (write_zip, long_keys(1, 600_000), "far too long|far too large"),
    "many lists": (write_zip, Raw(b"]" * 2_000_000), "far too long"),
    "a large description": (write_zip, {"a": "a" * 5_000_000}, "far too large"),
    "overlapping entries": (listed(2000), {"w": NAMED}, "overlap"),
    "many entries": (listed(100_000), {"w": ONE}, "far too many entries"),
}


@pytest.mark.parametrize("case", EXPENSIVE)
def test_no_file_takes_more_than_its_size_explains(case, tmp_path):
    write, value, sentence = EXPENSIVE[case]
    write(tmp_path / "bad.pth", value)
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TorchFileError, match=sentence) as caught:
        read_weights(tmp_path / "bad.pth")
    assert time.process_time() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes
    assert len(str(caught.value)) < 500 + len(str(tmp_path))
