"""`p3m anonymize` killed or interrupted and started again, and twice at a time; on real faces."""

import json
import signal
import subprocess
import sys
import time

import pytest
from anonymizing import listed, real_face, real_faces, sheets
from PIL import Image
from predicting import tree


def start(pictures, out):
    # Shells start what runs in their background with Ctrl-C ignored, and the tests may be that.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from p3m_jax.cli import main; sys.exit(main())"
    )
    arguments = ("anonymize", str(pictures), "-o", str(out), "--workers", "2")
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def crowd(tmp_path):
    """Many pictures: every third shows no face, which makes one more than a sheet holds."""
    (tmp_path / "in").mkdir()
    for number in range(51):
        picture = real_face(number % 3) if number % 3 else Image.new("RGB", (225, 275), "teal")
        picture.save(tmp_path / f"in/{number:02d}.png")
    return tmp_path / "in", tmp_path / "out"


def wait_for(process, out, count):
    deadline = time.monotonic() + 60
    while len(list((out / "blurred_image").glob("*.png"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@real_faces
def test_killed_or_interrupted_and_started_again_it_gives_the_same_files(p3m, crowd, tmp_path):
    pictures, out = crowd
    assert p3m("anonymize", pictures, "-o", tmp_path / "whole", "--workers", 2) == 3
    whole = {
        name: content.replace(b"whole", b"out") if name.endswith(".jsonl") else content
        for name, (content, _) in tree(tmp_path / "whole").items()
        if not name.endswith((".jpg", "proposals.jsonl"))
    }
    for count, number in ((3, signal.SIGKILL), (12, signal.SIGINT), (22, signal.SIGTERM)):
        process = start(pictures, out)
        wait_for(process, out, count)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if number == signal.SIGKILL:
            left = out / "keep_private/review/masks/.p3m.abcd_123"  # as in the middle of a write
            left.parent.mkdir(exist_ok=True)
            left.write_bytes(b"half a file")
            continue
        assert process.returncode == 130
        assert "Run the same command again to resume" in error
        assert "Traceback" not in error
        assert not list(out.rglob(".p3m.*"))
        waiting = listed(out)
        assert all(int(name) % 3 == 0 for name in waiting)
    assert p3m("anonymize", pictures, "-o", out, "--workers", 2) == 3
    again = {name: content for name, (content, _) in tree(out).items()}
    sheet_of = lambda text: [{**json.loads(e), "sheet": 0} for e in text.splitlines()]  # noqa: E731
    name = "keep_private/review/review.jsonl"
    assert sheet_of(again.pop(name)) == sheet_of(whole.pop(name))
    assert {name: again[name] for name in whole} == whole
    assert len(listed(out)) == 17
    assert sheets(out) == ["sheet_001.jpg", "sheet_002.jpg"]


@real_faces
def test_of_two_processes_one_writes(crowd):
    processes = [start(*crowd) for _ in range(2)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    for error, code in ends:  # at the same time or one after the other
        assert "Traceback" not in error
        assert code == 3 or "another process is writing there" in error
    assert 3 in {code for _, code in ends}
    assert len(listed(crowd[1])) == 17
