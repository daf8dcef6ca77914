"""Lists of JSON objects: what a killed program and a full disk leave behind."""

import resource
from pathlib import Path

import pytest

from p3m_jax.storage.json_lines import LineWriter, read_lines, write_lines

# File names that are not text arrive as lone surrogates.
ENTRIES = [{"name": "a"}, {"name": "Jos\u00e9 \u2028 \udcff.jpg", "sizes": [1, None, 2.5]}]


def test_what_is_appended_is_read(tmp_path):
    file = tmp_path / "list.jsonl"
    assert list(read_lines(file)) == []
    for entry in ENTRIES:
        with LineWriter(file) as lines:
            lines.append(entry)
    assert list(read_lines(file)) == ENTRIES
    write_lines(tmp_path / "whole.jsonl", ENTRIES)
    assert (tmp_path / "whole.jsonl").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("tail", [b'{"name": "b', b'{"name": "\xc3', b"\0\0\0", b"[" * 100_000])
def test_a_line_that_is_cut_off_is_skipped_and_the_next_is_not_lost(tmp_path, tail):
    file = tmp_path / "list.jsonl"
    file.write_bytes(b'3\n[]\n{"name": "a"}\n' + tail)
    assert list(read_lines(file)) == [{"name": "a"}]
    with LineWriter(file) as lines:
        lines.append({"name": "c"})
        lines.append({"name": "d"})
    assert [entry["name"] for entry in read_lines(file)] == ["a", "c", "d"]


def test_a_line_that_the_disk_took_in_part_does_not_spoil_the_next(tmp_path):
    file, before = tmp_path / "list.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    with LineWriter(file) as lines:
        lines.append({"name": "a"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, before[1]))
        try:
            with pytest.raises(OSError):
                lines.append({"name": "b" * 100})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert file.stat().st_size == 25
        lines.append({"name": "c"})
    assert list(read_lines(file)) == [{"name": "a"}, {"name": "c"}]


def test_a_list_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        list(read_lines(tmp_path))
    with pytest.raises(FileNotFoundError):
        LineWriter(Path(tmp_path, "missing", "list.jsonl"))
