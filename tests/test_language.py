"""Plain English: turns of phrase that a reader has to read twice do not come back."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = ("p3m_jax", "data", "configs", "docs", "benchmarks")
FILES = [
    *(file for folder in FOLDERS for file in sorted((PROJECT / folder).rglob("*.*"))),
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "train.py")),
]
HABITS = {
    "alone": "only, or by itself",
    "anew": "again, or re-",
    "somebody|someone|whoever|whomever": "name the person",
    "(go|goes|going|gone|went) on": "resume, continue",
    "what (became|becomes) of|what there (is|was)": "the noun",
}


@pytest.mark.parametrize("habit", HABITS)
def test_turns_of_phrase_that_are_gone(habit):
    pattern = re.compile(rf"\b({habit})\b", re.IGNORECASE)
    found = [
        f"{file.relative_to(PROJECT)}:{number}: {line.strip()}"
        for file in FILES
        if file.suffix in (".py", ".md")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"say it with {HABITS[habit]}: " + "\n".join(found)
