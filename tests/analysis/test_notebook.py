"""The notebook of the docs is the page's cells, and it runs from a DataFrame to a report."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.notebook import NOTEBOOK, PAGE, notebook_of


def test_the_notebook_holds_the_cells_of_the_page():
    assert nbformat.read(NOTEBOOK, as_version=4) == notebook_of(PAGE.read_text("utf-8")), (
        "docs/notebook.ipynb is not docs/notebook.md: run python -m tests.support.notebook"
    )


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_notebook_runs_and_shows_what_it_promises(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [plan] = [cell for cell in notebook.cells if "epochs=6," in cell.source]
    plan.source = plan.source.replace("epochs=6,", "epochs=2,")
    shutil.copytree(NOTEBOOK.parent / "results", tmp_path / "results")
    done = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = {cell.source: _shown(cell) for cell in done.cells if cell.cell_type == "code"}

    def output_of(call: str) -> dict[str, str]:
        return next(found for source, found in shown.items() if call in source)

    assert "Restaurant" in output_of("study.table(")["text/html"]
    assert "80% train" in output_of("split_note")["text/plain"]
    assert "6 trials in 2 cells" in output_of("tk.plan(")["text/html"]
    assert "6 completed" in output_of("tk.run(")["text/html"]
    assert output_of("results.epochs")["text/html"].count("<tr") == 7
    assert "num_trainable_params" in output_of("groupby")["text/html"]
    assert "Full fine-tuning" in output_of("results.table(")["text/html"]
    assert output_of("results.curves(")["image/png"]
    assert "report.html" in output_of("results.report(")["text/plain"]
    assert (tmp_path / "ray_results" / "notebook-report" / "report.html").is_file()
    assert "completed    6" in output_of('tk.load("ray_results')["text/plain"]


def _shown(cell) -> dict[str, str]:
    """Return what a cell shows as the value of its last line, by MIME type."""
    results = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    return dict(results[0]) if results else {}
