"""`p3m predict` and `load` with a network (fresh weights): sizes, programs, and who agrees.

A small network stands in where P3M-Net's own program would only take longer to compile.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import RELEASE
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image
from predicting import red_is_opaque
from running import WELL_COMPILED, environment
from small_network import SmallNetwork, found_by_name

import p3m_jax
from p3m_jax.checkpoints.weights import describe, load_for_inference, save_for_inference
from p3m_jax.inference.matting import Matting, MattingError, identify
from p3m_jax.inference.programs import predictor
from p3m_jax.inference.sizes import first_size, frame_size
from p3m_jax.inference.strategies import matte_picture
from p3m_jax.models.network import network
from p3m_jax.pictures.images import write_image
from p3m_jax.prediction.mattes import by_network
from p3m_jax.runtime.compilation import default_cache, for_inference, keep_compiled

RNG = np.random.default_rng(0)
CACHE_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


def picture_of(height, width):
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights") / "fresh", network("resnet34"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    found_by_name()
    return saved(tmp_path_factory.mktemp("weights") / "small", SmallNetwork())


def saved(folder, net):
    description = describe(net.name, synthetic=True, provenance={"step": 0})
    save_for_inference(folder, net.initialize(0), description)
    return folder


@pytest.fixture
def cache(tmp_path):
    """Where compiled programs may be kept; the command's settings do not outlive the test."""
    before = {name: getattr(jax.config, name) for name in CACHE_SETTINGS}
    yield os.environ.get("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def matting(checkpoint):
    return p3m_jax.load(checkpoint)


@pytest.mark.parametrize("strategy", ["resize", pytest.param("hybrid", marks=RELEASE)])
def test_exact_sizes_give_what_evaluation_scores(matting, checkpoint, strategy):
    picture = picture_of(96, 130)
    alpha = matting(picture, strategy=strategy, exact_sizes=True)
    assert alpha.dtype == np.float32
    loaded = load_for_inference(checkpoint)
    predict = predictor(loaded.network, loaded.variables)
    expected = matte_picture(predict, picture, strategy=strategy)
    np.testing.assert_allclose(alpha, expected, atol=2e-4)
    assert 0 <= alpha.min() < alpha.max() <= 1


def test_pictures_of_like_sizes_share_programs(matting):
    before = matting.compiled
    for size in ((96, 144), (97, 150), (110, 150), (100, 149)):
        assert matting(picture_of(*size), strategy="resize").shape == size
    assert matting.compiled <= before + 1


def test_pictures_at_a_time_come_out_as_one_by_one():
    pictures = [picture_of(96 + 48 * (number % 2), 144) for number in range(6)]
    matting = Matting(red_is_opaque())
    one_by_one = [matting(picture, strategy="resize") for picture in pictures]
    # Both start with nothing compiled, and ask for the same programs at the same time.
    make_matte = by_network(
        Matting(red_is_opaque()), strategy="resize", exact_sizes=False, memory=4 * 10**9
    )
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(make_matte, pictures))
    for matte, expected in zip(together, one_by_one, strict=True):
        np.testing.assert_array_equal(matte.alpha, expected)


def test_files_are_read_upright_and_their_transparency_counts(matting, tmp_path):
    stored = picture_of(144, 96)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = np.ascontiguousarray(np.rot90(stored, 3))
    alpha = matting(tmp_path / "a.png", strategy="resize")
    np.testing.assert_array_equal(alpha, matting(upright, strategy="resize"))
    rgba = np.dstack([upright, np.full((96, 144), 255, np.uint8)])
    rgba[:40, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "b.png")
    assert not matting(str(tmp_path / "b.png"), strategy="resize")[:40].any()


def test_what_is_no_picture_is_refused(matting):
    with pytest.raises(ValueError, match="uint8"):
        matting(np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match="no strategy"):
        matting(picture_of(10, 10), strategy="best")


@pytest.mark.slow
@pytest.mark.release
def test_quicker_compiling_changes_nothing_but_rounding(checkpoint):
    """Matting's programs are compiled at another level of optimisation than JAX's default."""
    loaded = load_for_inference(checkpoint)
    # One and the same in any order of tests: of many, some have a pixel whose class is a tie.
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.float32)

    def outputs(variables, pictures):
        return loaded.network.apply(variables, pictures)[0]

    lowered = jax.jit(outputs).lower(loaded.variables, picture)
    plain = lowered.compile(WELL_COMPILED)(loaded.variables, picture)
    quicker = lowered.compile(for_inference("cpu"))(loaded.variables, picture)
    for name in ("semantic", "detail", "fusion"):
        expected = getattr(plain, name)
        # A thirtieth of what float32 itself moves such logits by, see test_networks.py.
        scale = max(1, float(np.abs(expected).max()))
        np.testing.assert_allclose(getattr(quicker, name), expected, rtol=0, atol=3e-6 * scale)
    assert for_inference("tpu") == {}


def test_little_memory_means_a_smaller_size(small):
    matting = p3m_jax.load(small)
    picture = picture_of(400, 600)
    options = {"strategy": "resize", "exact_sizes": False}
    matte = matting.matte(picture, memory=2_000_000, **options)
    assert matte.alpha.shape == (400, 600)
    height, width = matte.network_sizes["fusion"]
    assert height * width < np.prod(frame_size((400, 600), 0.5))
    assert "the network ran at" in matte.warnings[0]
    with pytest.raises(MattingError, match="--max-memory"):
        matting.matte(picture, memory=1000, **options)


def test_a_folder_by_a_checkpoint(p3m, small, cache, tmp_path, capsys):
    matting = p3m_jax.load(small)
    for name, size in {"a": (96, 144), "b": (100, 150), "c": (144, 96)}.items():
        write_image(tmp_path / "in" / f"{name}.png", picture_of(*size))
    arguments = ("predict", tmp_path / "in", "-o", tmp_path / "out", "--checkpoint", small)
    options = ("--strategy", "resize", "--alpha-bits", 16, "--compilation-cache", cache)
    assert p3m(*arguments, *options) == 0
    captured = capsys.readouterr()
    assert "3 pictures: 3 done" in captured.out
    assert "2 compiled programs" in captured.out
    assert "synthetic portraits" in captured.err
    for name in "abc":
        deep = np.asarray(Image.open(tmp_path / "out" / "alpha" / f"{name}.png"))
        alpha = matting(tmp_path / "in" / f"{name}.png", strategy="resize")
        assert deep.dtype == np.uint16
        np.testing.assert_array_equal(deep, np.rint(alpha * 65535))
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    entry = json.loads(lines[0])
    made = entry["outputs"]["alpha/a.png"]["settings"]
    assert made["checkpoint"] == identify(matting.checkpoint)
    assert made["strategy"] == "resize"
    assert entry["provenance"]["step"] == 0
    assert entry["synthetic"] is True
    assert entry["network_sizes"] == {"fusion": [64, 32]}
    assert p3m(*arguments, *options) == 0
    assert "3 already done" in capsys.readouterr().out
    assert p3m(*arguments, "--compilation-cache", cache) == 1
    error = capsys.readouterr().err
    assert 'strategy was "resize", now "hybrid"' in error


def test_no_checkpoint_there_is_one_sentence(p3m, cache, tmp_path, capsys):
    write_image(tmp_path / "a.png", picture_of(40, 40))
    arguments = ("predict", tmp_path / "a.png", "-o", tmp_path / "out", "--checkpoint", "nowhere")
    assert p3m(*arguments, "--compilation-cache", cache) == 1
    assert "no such checkpoint" in capsys.readouterr().err


def start(checkpoint, tmp_path, out, cache):
    program = (
        "import sys; from small_network import found_by_name; found_by_name(); "
        "from p3m_jax.cli import main; sys.exit(main())"
    )
    arguments = [
        *("predict", tmp_path / "a.png", "-o", tmp_path / out, "--checkpoint", checkpoint),
        *("--strategy", "resize", "--compilation-cache", cache),
    ]
    told = {"JAX_LOG_COMPILES": "1", "JAX_EXPLAIN_CACHE_MISSES": "1"}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**environment(), **told},
        check=False,
    )


def test_a_second_start_compiles_nothing(small, tmp_path):
    write_image(tmp_path / "a.png", picture_of(64, 64))
    cache = tmp_path / "compiled"
    first = start(small, tmp_path, "first", cache)
    assert first.returncode == 0, first.stderr
    files = {path.name for path in cache.iterdir() if path.name.endswith("-cache")}
    assert files
    assert "Persistent compilation cache hit for 'jit_maps'" not in first.stderr
    second = start(small, tmp_path, "second", cache)
    assert second.returncode == 0
    assert {path.name for path in cache.iterdir() if path.name.endswith("-cache")} == files
    assert "Persistent compilation cache hit for 'jit_maps'" in second.stderr
    alphas = [(tmp_path / out / "alpha" / "a.png").read_bytes() for out in ("first", "second")]
    assert alphas[0] == alphas[1]


def test_a_cache_that_cannot_be_written_is_a_warning(cache, tmp_path):
    assert keep_compiled(cache) is None
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "Compiled programs are not cached" in keep_compiled(str(folder))
        assert not jax.config.jax_enable_compilation_cache
    assert keep_compiled("off") is None


def test_a_program_that_was_cut_off_is_written_again(cache, tmp_path):
    def kept():
        return {path: path.read_bytes() for path in (tmp_path / "kept").glob("*-cache")}

    def compiled():
        jax.clear_caches()
        compilation_cache.reset_cache()  # else it stays where the tests before had it
        assert keep_compiled(str(tmp_path / "kept")) is None
        jax.jit(lambda x: jax.numpy.sin(x) + 1)(np.ones(3, np.float32))
        return kept()

    whole = compiled()
    assert whole
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
        last = (tmp_path / "kept/.checked").stat().st_mtime
        os.utime(path, (last, last))
    again = compiled()
    assert again.keys() == whole.keys()
    assert all(len(again[path]) > 0.9 * len(whole[path]) for path in whole)
    # What was found whole is not looked at again.
    for path in again:
        path.write_bytes(b"")
        os.utime(path, (1e9, 1e9))
    assert keep_compiled(str(tmp_path / "kept")) is None
    assert kept().keys() == whole.keys()
    compilation_cache.reset_cache()


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "p3m-jax" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "p3m-jax" / "compiled"


def test_importing_the_package_stays_light():
    program = (
        "import sys, p3m_jax; heavy = {'jax', 'numpy', 'PIL', 'cv2', 'tensorflow'};"
        "print(sorted(heavy & sys.modules.keys())); p3m_jax.load;"
        "print(sorted({'tensorflow', 'pymatting', 'numba'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:2] == ["[]", "[]"]


def test_on_a_cpu_max_memory_bounds_the_network_too(p3m, checkpoint, cache, tmp_path, capsys):
    if jax.default_backend() != "cpu":
        pytest.skip("an accelerator has memory of its own")
    Image.new("RGB", (6000, 5000)).save(tmp_path / "large.png", compress_level=1)
    arguments = ("predict", tmp_path / "large.png", "-o", tmp_path / "out")
    options = ("--checkpoint", checkpoint, "--strategy", "native", "--compilation-cache", cache)
    assert p3m(*arguments, *options, "--max-memory", 1.9) == 0
    assert "memory: the network ran at" in capsys.readouterr().err
    with Image.open(tmp_path / "out" / "alpha" / "large.png") as alpha:
        assert alpha.size == (6000, 5000)
    entry = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
    assert entry["network_sizes"]["fusion"][0] < frame_size(first_size((5000, 6000)), 1)[1]


def test_weights_by_another_path_are_the_same(p3m, small, cache, tmp_path, capsys):
    write_image(tmp_path / "a.png", picture_of(64, 64))
    net, other = SmallNetwork(), tmp_path / "copy"
    description = describe(net.name, synthetic=True, provenance={"from": "elsewhere", "x": np.nan})
    save_for_inference(other, load_for_inference(small).variables, description)
    options = ("--strategy", "resize", "--compilation-cache", cache)
    arguments = ("predict", tmp_path / "a.png", "-o", tmp_path / "out", "--checkpoint")
    assert p3m(*arguments, small, *options) == 0
    capsys.readouterr()
    for weights in (other, small, other):
        assert p3m(*arguments, weights, *options) == 0
        assert "0 done, 1 already done" in capsys.readouterr().out


def test_what_the_documentation_shows_runs(small, tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "matting.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    Path("weights").symlink_to(small)
    Image.new("RGB", (64, 64)).save("photo.jpg")
    exec("\n".join(blocks), {})
    assert Image.open("cut.png").mode == "RGBA"
    assert Image.open("over.jpg").size == (64, 64)
