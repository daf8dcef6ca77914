"""Working through a collection with a work that is made for it: who is where at what time."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from p3m_jax.commands.collecting import time_taken
from p3m_jax.jobs.manifest import open_manifest
from p3m_jax.jobs.plan import make_plan
from p3m_jax.jobs.run import Run
from p3m_jax.jobs.work import NeedsReview
from p3m_jax.pictures.images import ImageError, write_image
from p3m_jax.runtime.machine import Budget


@dataclass
class Counting:
    """A work that copies, and counts how many pictures are on their way and at `compute`."""

    at_once: int
    together: int = 1  # so many must be at `compute` before the first one leaves it
    done: str = "counted"
    most: int = 0
    inside: int = 0
    loaded: int = 0
    most_loaded: int = 0
    needed_once: tuple[str, ...] = ()
    needed: int = 16  # bytes that a picture takes

    def __post_init__(self):
        self._barrier = threading.Barrier(self.together)
        self._lock = threading.Lock()

    def given(self, job):
        return {}

    def memory(self, job, pixels):
        return self.needed

    def load(self, job, given):
        with self._lock:
            self.loaded += 1
            self.most_loaded = max(self.most_loaded, self.loaded)
        return job.name

    def compute(self, loaded):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._barrier.wait(timeout=30)
        time.sleep(0.01)
        with self._lock:
            self.inside -= 1
        return loaded

    def write(self, job, computed, files):
        assert computed == job.name
        write_image(files["alpha"], np.zeros((2, 2), np.uint8))
        with self._lock:
            self.loaded -= 1
        return [f"warning of {job.name}"], {}


def run(tmp_path, work, count, written=0):
    """A run over so many pictures, of which some have been written before."""
    for number in range(written, count):
        write_image(tmp_path / "in" / f"{number:02}.png", np.zeros((4, 4, 3), np.uint8))
    plan = make_plan([tmp_path / "in"], tmp_path / "out", {"alpha": "png"})
    with open_manifest(tmp_path / "out", plan.jobs) as manifest:
        running = Run(manifest, {"alpha": {}}, work, memory=8 * 10**9, workers=2, overwrite=False)
        return running.start(plan.jobs, progress=False)


@pytest.mark.parametrize(("at_once", "together"), [(1, 1), (2, 2), (3, 3)])
def test_so_many_are_computed_at_once_and_no_more(tmp_path, at_once, together):
    work = Counting(at_once, together)
    outcome = run(tmp_path, work, 12)
    assert (outcome.done, outcome.failed, outcome.stopped) == (12, [], None)
    assert work.most == at_once
    assert work.most_loaded <= 6  # twice the workers and two
    # However they overtook each other, they are counted in the order of the plan.
    assert [sentence for _, sentence in outcome.warnings] == [
        f"warning of {number:02}" for number in range(12)
    ]


def test_pictures_that_fill_the_memory_go_one_by_one(tmp_path):
    work = Counting(2, needed=6 * 10**9)
    assert run(tmp_path, work, 5).done == 5
    assert work.most_loaded == work.most == 1


def test_what_is_done_is_skipped_and_what_cannot_be_done_is_told(tmp_path):
    run(tmp_path, Counting(2), 3)
    (tmp_path / "in" / "01.png").write_bytes(b"no picture")
    outcome = run(tmp_path, Counting(2), 5, written=3)
    assert (outcome.done, outcome.skipped, outcome.tried) == (2, 2, 2)
    ((file, reason),) = outcome.failed
    assert file.name == "01.png"
    assert "is not a picture that can be read" in reason


def test_pictures_that_were_looked_at_are_counted_whatever_the_result(tmp_path):
    class Doubting(Counting):
        def load(self, job, given):
            if job.name.name == "00":
                raise NeedsReview(["one reason", "another"])
            if job.name.name == "01":
                raise ImageError("cannot be used")
            return super().load(job, given)

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "no.png").write_bytes(b"no picture")
    outcome = run(tmp_path, Doubting(1), 4)
    assert (outcome.done, outcome.tried) == (2, 4)
    assert outcome.waiting == [(tmp_path / "in/00.png", ("one reason", "another"))]
    assert [file.name for file, _ in outcome.failed] == ["01.png", "no.png"]
    assert time_taken(outcome, 8.0) == "8.0 s, 2.00 s a picture"


def test_an_error_of_the_program_is_not_taken_for_one_of_a_picture(tmp_path):
    class Broken(Counting):
        def compute(self, loaded):
            raise AttributeError("nothing of the picture's")

    with pytest.raises(AttributeError, match="nothing of the picture's"):
        run(tmp_path, Broken(2), 12)


def test_what_is_held_is_waited_for():
    budget, order = Budget(100, pictures=2), []

    def second():
        with budget.held(60):
            order.append("second")

    thread = threading.Thread(target=second)
    with budget.held(60):
        thread.start()
        with budget.held(40):  # fits beside it
            time.sleep(0.3)
            order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    with budget.held(1000):  # all is given back, so that this one goes alone
        assert not budget.try_take(1)
