"""What comes out of files is printed without control characters, by every command."""

import json
import unicodedata

import numpy as np
import pytest

from p3m_jax.evaluation.report import Evaluation, make_report
from p3m_jax.pictures.images import write_image
from p3m_jax.text import printable, say, shown

# An escape sequence, line breaks of several kinds, C1, marks of direction, a byte that is no text.
HOSTILE = "a\x1b[2J\r\nOK\x85\x9b\u202eb\u2066\u200f\u061c\u2028\u2029\x7f|\udc80z"
ESCAPED = "a\\x1b[2J\\r\\nOK\\x85\\x9b\\u202eb\\u2066\\u200f\\u061c\\u2028\\u2029\\x7f|\\udc80z"


def is_harmless(text: str) -> bool:
    """Whether a terminal shows the text as it is, line by line."""
    return not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for character in text.replace("\n", "")
    )


def test_foreign_text_stays_on_its_line(capsys):
    assert shown(HOSTILE) == ESCAPED
    assert printable(f"{HOSTILE}\nüñ 日本") == f"{ESCAPED.replace(chr(92) + 'n', chr(10))}\nüñ 日本"
    say(shown(HOSTILE))
    assert capsys.readouterr().out == ESCAPED + "\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with a hostile name that holds a picture of that name, and its matte."""
    folder = tmp_path / HOSTILE
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    write_image(folder / "pictures" / f"{HOSTILE}.png", picture)
    write_image(folder / "mattes" / f"{HOSTILE}.png", np.full((40, 60), 255, np.uint8))
    (folder / "bad").mkdir()
    (folder / "bad" / f"{HOSTILE}.png").write_bytes(b"no picture")
    (folder / "weights.safetensors").write_bytes(b"no weights")
    return folder


PAIR = ("--pictures", "{folder}/pictures", "--mattes", "{folder}/mattes")


@pytest.mark.parametrize(
    "command",
    [
        ("check", *PAIR),
        ("check", "--pictures", "{folder}/pictures", "--mattes", "{folder}/bad"),
        ("check", "{folder}/no"),
        ("predict", "{folder}/pictures", "-o", "{folder}/out", "--alphas", "{folder}/mattes"),
        ("predict", "{folder}/bad", "-o", "{folder}/out", "--alphas", "{folder}/mattes"),
        ("predict", "{folder}/pictures", "-o", "{folder}/out", "--checkpoint", "{folder}/no"),
        ("anonymize", "{folder}/no", "-o", "{folder}/out"),
        ("areas", "{folder}/no", "-o", "{folder}/out"),
        ("estimate", *PAIR, "-o", "{folder}/out"),
        (
            "synthesize",
            "-o",
            "{folder}/out",
            *["--train", "1", "--test", "0", "--faces", "0", "--size", "64x48"],
        ),
        ("records", "{folder}/no", "-o", "{folder}/out"),
        ("evaluate", *PAIR, "--predictions", "{folder}/mattes", "-o", "{folder}/out"),
        ("evaluate", *PAIR, "--predictions", "{folder}/bad", "-o", "{folder}/out"),
        ("evaluate", *PAIR, "--predictions", "{folder}/no", "-o", "{folder}/out"),
        ("import", "{folder}/weights.safetensors", "-o", "{folder}/out"),
        ("export", "{folder}/no", "-o", "{folder}/out"),
        ("doctor", "--checkpoint", "{folder}/no"),
        ("check", "{folder}", "{folder}"),
    ],
)
def test_no_command_prints_control_characters(p3m, folder, capfd, command):
    assert p3m(*(word.format(folder=folder) for word in command)) in (0, 1, 2)
    told = capfd.readouterr()
    text = "\n".join(line.split("\r")[-1] for line in told.err.split("\n")) + told.out  # a bar
    assert ESCAPED in text
    assert is_harmless(text)
    assert not any(line.startswith("OK") for line in text.split("\n"))


def test_reports_have_a_line_for_a_line():
    row = {"stem": HOSTILE, "height": 1, "width": 1, "SAD": 1.0, "MSE": 0.1, "MAD": 0.1}
    evaluation = Evaluation(
        *(HOSTILE, HOSTILE, "ours", "as here", "made"),
        provenance={"run": HOSTILE, "started_from": {HOSTILE: HOSTILE}},
        rows={"resize": [row]},
    )
    report = make_report(evaluation)
    assert all(is_harmless(text) for text in report.values())
    assert f"- run: {ESCAPED}" in report["summary.md"].split("\n")
    assert len(report["pictures.csv"].splitlines()) == 2
    assert json.loads(report["results.json"])["provenance"]["run"] == HOSTILE
