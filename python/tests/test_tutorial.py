"""The tutorial runs."""

from pathlib import Path

import nbclient
import nbformat


def test_the_tutorial_runs(tmp_path):
    notebook = nbformat.read(Path(__file__).parents[1] / "tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "differentially private" in texts and "Opacus" in texts, texts
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))
