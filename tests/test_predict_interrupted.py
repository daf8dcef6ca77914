"""`p3m predict` killed, interrupted, run twice at a time, and on a disk that is full."""

import os
import signal
import subprocess
import time

import pytest
from predicting import arguments, command, manifest, matte_of, picture_of, tree

from p3m_jax.pictures.images import read_picture, write_image


@pytest.fixture
def folders(tmp_path):
    """Pictures, their mattes, and where outputs go."""
    pictures, mattes = tmp_path / "pictures", tmp_path / "mattes"
    for name in ("a", "deep/b", "deep/c"):
        write_image(pictures / f"{name}.png", picture_of())
        write_image(mattes / f"{name}.png", matte_of())
    return pictures, mattes, tmp_path / "out"


@pytest.fixture
def many(folders):
    pictures, mattes, _ = folders
    for i in range(24):
        write_image(pictures / f"many/{i}.png", picture_of(200, 300))
        write_image(mattes / f"many/{i}.png", matte_of(200, 300))
    return folders


def wait_for_outputs(process, out, count):
    deadline = time.monotonic() + 120
    while len(list((out / "cutout").rglob("*.png"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_and_started_again_it_gives_the_same_files(p3m, many, tmp_path):
    pictures, mattes, out = many
    assert p3m(*arguments((pictures, mattes, tmp_path / "whole"))) == 0
    whole = {name: content for name, (content, _) in tree(tmp_path / "whole").items()}
    for count in (2, 12):
        process = subprocess.Popen(command(many), stderr=subprocess.PIPE)
        wait_for_outputs(process, out, count)
        process.kill()
        process.wait()
    (out / "alpha" / ".p3m.abcd_123").write_bytes(b"half a file")
    assert p3m(*arguments(many)) == 0
    assert {name: content for name, (content, _) in tree(out).items()} == whole
    assert all(entry["status"] == "done" for entry in manifest(out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(many, number):
    out = many[2]
    process = subprocess.Popen(command(many), stderr=subprocess.PIPE, text=True)
    wait_for_outputs(process, out, 3)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again to resume" in error
    assert "Traceback" not in error
    assert not list(out.rglob(".p3m.*"))
    assert 0 < len(manifest(out)) < 27


def test_of_two_processes_one_writes(many):
    processes = [subprocess.Popen(command(many), stderr=subprocess.PIPE) for _ in range(2)]
    ends = [(process.communicate()[1].decode(), process.returncode) for process in processes]
    for error, code in ends:  # at the same time or one after the other
        assert "Traceback" not in error
        assert code == 0 or "another process is writing there" in error
    assert 0 in {code for _, code in ends}
    assert len(tree(many[2])) == 2 * 27
    assert len(manifest(many[2])) == 27


def test_two_processes_do_not_write_to_one_folder(p3m, folders, capsys):
    import fcntl

    pictures, mattes, out = folders
    asked = ("predict", pictures, "-o", out, "--alphas", mattes)
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert p3m(*asked) == 1
    assert "another process is writing there" in capsys.readouterr().err
    os.close(handle)
    assert p3m(*asked) == 0


def test_a_full_disk_ends_the_run_and_the_rest_follows(folders, tmp_path, p3m, capsys):
    pictures, mattes, _ = folders
    for i in range(12):
        write_image(pictures / f"many/{i}.png", picture_of(200, 300))
        write_image(mattes / f"many/{i}.png", matte_of(200, 300))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        possible = subprocess.run(mounted, capture_output=True, check=False).returncode == 0
    except OSError:
        possible = False
    if not possible:
        pytest.skip("a small disk cannot be mounted here")
    asked = ("predict", pictures, "-o", disk / "out", "--alphas", mattes, "--save", "cutout")
    try:
        assert p3m(*asked) == 1
        error = capsys.readouterr().err
        assert "No space left on device" in error
        assert "Free some disk space and run the same command again" in error
        assert not list(disk.rglob(".p3m.*"))
        for path in (disk / "out" / "cutout").rglob("*.png"):
            read_picture(path)  # whole, every one
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert p3m(*asked) == 0
        assert len(list((disk / "out" / "cutout").rglob("*.png"))) == 15
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
