"""Caches filled by Apache Beam: the same files as by threads, gone on with after a kill."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p3m_jax.data.layouts import folder_pair, training_set
from p3m_jax.data.synthetic.writer import write_synthetic_set
from p3m_jax.derived.filling import fill
from p3m_jax.derived.foregrounds import foreground_cache
from p3m_jax.derived.private_areas import find_missing_areas, private_cache
from p3m_jax.faces.weights import FaceWeightsError, find_weights
from p3m_jax.storage.files import locked

COUNT = 6
FACES = Path(__file__).parents[2] / "shared" / "faces"
BEAM = ("--engine", "beam")
TWO_PROCESSES = (
    *("--", "--runner=DirectRunner", "--direct_num_workers=2"),
    "--direct_running_mode=multi_processing",
)


@pytest.fixture(scope="module")
def beam_engine():
    pytest.importorskip("apache_beam")
    from p3m_jax.derived.on_beam import BeamEngine

    return BeamEngine


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Portraits with ordinary faces, whose foregrounds are to be estimated."""
    root = tmp_path_factory.mktemp("portraits") / "set"
    write_synthetic_set(root, train=COUNT, test=1, size=(64, 48), progress=False)
    for folder in ("fg", "bg"):
        for file in (root / "train" / folder).iterdir():
            file.unlink()
    return root


@pytest.fixture
def root(portraits, tmp_path):
    return shutil.copytree(portraits, tmp_path / "set")


def left(cache: Path):
    """The files of a cache with their content, and its lines."""
    files = {p.relative_to(cache): p.read_bytes() for p in cache.glob("*/*")}
    lines = [json.loads(line) for line in (cache / "sources.jsonl").read_text().splitlines()]
    assert [p.name for p in cache.glob("*.jsonl")] == ["sources.jsonl"]
    return files, sorted(lines, key=lambda line: line["stem"])


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), pytest.param(TWO_PROCESSES, marks=pytest.mark.release)])
def test_the_same_files_as_by_threads(root, tmp_path, beam_engine, p3m, capfd, how):
    pytest.importorskip("pymatting")
    made = {}
    for name, options in {"threads": ("--workers", 1), "beam": (*BEAM, *how)}.items():
        areas, cache = tmp_path / name / "areas", tmp_path / name / "foregrounds"
        of_areas = BEAM if name == "beam" else ()  # one more pair of processes is only slow
        assert p3m("areas", root, "--faces", "normal", "-o", areas, *of_areas) == 0
        hide = ("--obfuscation", "fill", "--private-cache", areas)
        assert p3m("estimate", root, "--faces", "normal", "-o", cache, *hide, *options) == 0
        said = capfd.readouterr().out
        assert f"face areas of {COUNT} found, 0 already done" in said
        assert f"foregrounds of {COUNT} estimated, 0 already done" in said
        # Both count the same bytes, and some seconds.
        counts = [line.split(";") for line in said.splitlines() if "processor seconds" in line]
        assert [count[0] for count in counts] == [
            f"face areas found: {COUNT} done, 0 skipped, 0 broken",
            f"foregrounds estimated: {COUNT} done, 0 skipped, 0 broken",
        ]
        bytes_ = [count[1].split("processor seconds,")[1] for count in counts]
        made[name] = left(areas), left(cache), bytes_
    assert made["threads"] == made["beam"]
    assert len(made["beam"][1][0]) == 2 * COUNT
    # What training asks for is there.
    dataset = training_set(root, faces="normal")
    assert find_missing_areas(dataset, tmp_path / "beam" / "areas", progress=False) == 0


@pytest.mark.skipif(not FACES.is_dir(), reason="the real faces are not on this machine")
def test_real_faces_are_found_the_same(tmp_path, beam_engine):
    try:
        find_weights("mesh"), find_weights("yunet")
    except FaceWeightsError:
        pytest.skip("the weights for finding faces are not installed")
    stems = ("matplotlib__grace_hopper", "scikit_image__astronaut")
    for kind, folder in {"pictures": "pictures", "mattes": "alpha_prediction"}.items():
        (tmp_path / kind).mkdir()
        for file in (FACES / folder).iterdir():
            if file.stem in stems:
                (tmp_path / kind / file.name).symlink_to(file.resolve())
    dataset = folder_pair(tmp_path / "pictures", tmp_path / "mattes")
    for name, engine in {"threads": None, "beam": beam_engine()}.items():
        count = find_missing_areas(dataset, tmp_path / name, engine=engine, progress=False)
        assert count == len(stems)
    assert left(tmp_path / "threads") == left(tmp_path / "beam")


KILLED = """
import os, signal, sys
from p3m_jax.data.layouts import training_set
from p3m_jax.storage.files import write_text
from p3m_jax.derived.filling import fill
from p3m_jax.derived.foregrounds import foreground_cache
from p3m_jax.derived.on_beam import BeamEngine

class Make:
    made = 0

    def __call__(self, example, paths):
        if self.made == 3:
            write_text(paths[0], "half a pair")
            os.kill(os.getpid(), signal.SIGKILL)
        self.made += 1
        for path in paths:
            write_text(path, example.stem)
        return {}

dataset = training_set(sys.argv[1], faces="normal")
fill(foreground_cache(sys.argv[2]), dataset.examples, Make(), engine=BeamEngine())
"""


@pytest.mark.parametrize("engine", ["beam", "threads"])
def test_a_killed_job_is_gone_on_with(root, tmp_path, beam_engine, engine):
    folder = tmp_path / "cache"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, root, folder], capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    (part,) = folder.glob("sources-*.jsonl")
    finished = [json.loads(line)["stem"] for line in part.read_text().splitlines()]
    assert len(finished) == 3
    before = {p: p.stat().st_mtime_ns for stem in finished for p in folder.glob(f"*/{stem}.*")}
    part.write_text(part.read_text() + '{"stem": "p_')  # killed in the middle of a line
    examples, cache = training_set(root, faces="normal").examples, foreground_cache(folder)

    def make(example, paths):
        for path in paths:
            path.write_text(example.stem)
        with (tmp_path / "made").open("a") as file:  # pipelines work on copies of this function
            file.write(example.stem + "\n")
        return {}

    options = {"engine": beam_engine()} if engine == "beam" else {"workers": 1}
    assert fill(cache, examples, make, progress=False, **options) == COUNT - 3
    made = (tmp_path / "made").read_text().splitlines()
    assert sorted(made + finished) == [example.stem for example in examples]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(before) == 6
    assert cache.missing(examples) == []
    if engine == "beam":
        left(folder)  # one list, nothing else


def test_a_broken_picture_is_named_and_the_others_are_done(root, tmp_path, beam_engine, p3m, capfd):
    pictures = sorted((root / "train" / "original_image").iterdir())
    intact = pictures[2].read_bytes()
    pictures[2].write_bytes(intact[: len(intact) // 2])
    command = ("areas", root, "--faces", "normal", "-o", tmp_path / "cache", *BEAM)
    assert p3m(*command) == 1
    said = capfd.readouterr()
    assert f"{COUNT - 1} done, 0 skipped, 1 broken" in said.out
    assert f"1 of {COUNT} face areas could not be found, the others are done" in said.err
    assert pictures[2].name in said.err.splitlines()[-1]
    assert len(list((tmp_path / "cache" / "private").iterdir())) == COUNT - 1
    pictures[2].write_bytes(intact)
    assert p3m(*command) == 0
    assert f"1 done, {COUNT - 1} skipped, 0 broken" in capfd.readouterr().out
    left(tmp_path / "cache")


def test_pictures_that_nobody_is_sure_of_wait(root, tmp_path, p3m, capfd):
    cache = tmp_path / "cache"
    command = ("areas", root, "--faces", "normal", "-o", cache)
    assert p3m(*command) == 0
    lines = [json.loads(line) for line in (cache / "sources.jsonl").read_text().splitlines()]
    lines[0]["notes"] = {"doubts": ["a doubt"]}
    (cache / "sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert p3m(*command) == 3
    assert "1 need review" in capfd.readouterr().out
    assert (cache / "to_review.txt").read_text() == f"{lines[0]['stem']}\ta doubt\n"
    hide = ("--obfuscation", "fill", "--private-cache", cache)
    assert p3m("estimate", root, "--faces", "normal", "-o", tmp_path / "fg", *hide) == 1
    (cache / "reviewed.txt").write_text(lines[0]["stem"])
    assert p3m(*command) == 0


def test_one_job_at_a_time(root, tmp_path, beam_engine, p3m, capfd):
    (tmp_path / "cache").mkdir()
    command = ("areas", root, "--faces", "normal", "-o", tmp_path / "cache", *BEAM)
    with locked(tmp_path / "cache", RuntimeError()):
        assert p3m(*command) == 1
    assert "cache: another job is filling this cache" in capfd.readouterr().err
    assert p3m(*command, "--", "--runner=Sprinter") == 1
    assert "Beam cannot run with --runner=Sprinter" in capfd.readouterr().err


def test_a_worker_that_does_not_see_the_cache_makes_nothing(root, tmp_path, beam_engine):
    from p3m_jax.derived import on_beam

    def never(example, paths):
        raise AssertionError("nothing is to be made")

    cache = private_cache(tmp_path / "elsewhere")
    worker = on_beam._MakeOne(cache, never)
    worker.setup()
    (example, *_) = training_set(root, faces="normal").examples
    line = on_beam._to_line(example)
    assert on_beam._from_line(line) == example
    worker.process(line)
    worker.teardown()
    assert not cache.folder.exists()


def test_without_apache_beam(root, tmp_path, p3m, capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "p3m_jax.derived.on_beam", raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    for command in ("areas", "estimate"):
        assert p3m(command, root, "--faces", "normal", "-o", tmp_path / "cache", *BEAM) == 1
        said = capfd.readouterr().err
        assert said.strip().startswith("--engine beam requires Apache Beam, which is not installed")
        assert 'pip install -e ".[beam]"' in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--engine", "threads", "--", "--runner=DirectRunner"), "require --engine beam"),
        (("--engine=beam", "--workers", 2), "--direct_num_workers"),
        (("--pictures", "here"), "Name either DATA, or both"),
        (("--facemasks", "gs://masks"), "gs://masks: this command cannot use a bucket"),
    ],
)
def test_options_that_do_not_go_together(root, tmp_path, p3m, capfd, options, reason):
    for command in ("areas", "estimate"):
        assert p3m(command, root, "-o", tmp_path / "cache", *options) == 2
        assert reason in capfd.readouterr().err
