"""Names of outputs that promise a file are refused by every command that writes a folder."""

import pytest

from p3m_jax.cli import COMMANDS

WRITING = sorted(set(COMMANDS) - {"train", "check", "doctor"})


@pytest.mark.parametrize("command", WRITING)
def test_a_name_that_promises_a_file_is_refused(command, p3m, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one.png", "x.onnx", "m.pth", "m.pth.tar", "sub/Y.ZIP", "-"):
        assert p3m(command, "-o", name) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "argument -o/--output: " in said
        assert "choose a folder" in said
        assert name in said or "standard output" in said
    safetensors = p3m(command, "-o", "y.safetensors")
    said = capsys.readouterr().err.splitlines()[-1]
    assert safetensors == 2
    assert ("argument -o" in said) == (command != "export")
    assert not list(tmp_path.iterdir())


def test_a_folder_may_have_any_other_name(p3m, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mattes.png").mkdir()
    for name in ("vitae-s.v1.2", "mattes.final", "mattes.png"):
        assert p3m("predict", "nowhere.jpg", "-o", name, "--alphas", "alphas") != 2
        assert "argument -o" not in capsys.readouterr().err
