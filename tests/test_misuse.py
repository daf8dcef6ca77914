"""What every command does with wrong options and when it is told to stop."""

import os
import signal

import pytest

from p3m_jax.commands import INTERRUPTED, one_sentence_errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", ""],
        ["areas", "--pictures", "a", "--mattes", "", "-o", "out"],
        ["evaluate", "--predictions", "", "--set", "P3M-500-P", "--data", "a", "-o", "out"],
        ["predict", "a.jpg", "", "-o", "out", "--alphas", "b"],
        ["export", "", "-o", "out"],
    ],
)
def test_an_empty_name_is_never_the_current_folder(p3m, capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert p3m(*arguments) == 2
    assert "one of the given names is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["check", "areas", "estimate", "records", "evaluate"])
def test_pictures_are_not_their_own_mattes(p3m, capsys, tmp_path, command):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    pair = ["--pictures", tmp_path / "photos", "--mattes", tmp_path / "link"]
    more = {"check": [], "evaluate": ["--predictions", "x", "-o", tmp_path / "out"]}
    assert p3m(command, *pair, *more.get(command, ["-o", tmp_path / "out"])) == 2
    assert "--pictures and --mattes are the same folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_with_a_sentence_and_its_handler_is_put_back(capsys, number):
    before = signal.getsignal(signal.SIGTERM)
    # A shell starts processes in the background with SIGINT ignored.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, one_sentence_errors(), one_sentence_errors():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err.strip() == "Interrupted."
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_that_was_set_before_is_kept():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("saved"))
    try:
        with one_sentence_errors():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["saved"]
