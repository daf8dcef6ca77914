"""The notebook: committed without outputs, and it runs from a fresh clone."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = DOCS / "first_steps.ipynb"


def test_it_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert sum(cell["cell_type"] == "code" for cell in cells) > 4
    for cell in cells:
        assert not cell.get("outputs"), cell["source"]
        assert cell.get("execution_count") is None, cell["source"]


def test_the_index_names_it():
    assert "(first_steps.ipynb)" in (DOCS / "index.md").read_text("utf-8")


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    """As Jupyter runs it, from the folder of the notebook; what it shows is there."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(DOCS)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    shown = [output.get("data", {}).get("text/plain", "") for output in outputs]
    assert any(text.startswith("(8,") and "SAD" in text for text in shown), shown
    printed = "".join(
        output.get("text", "") for output in outputs if output.get("name") == "stdout"
    )
    assert printed.count("'SAD'") == 2
    assert (next(tmp_path.glob("p3m_*")) / "run" / "report.md").is_file()
