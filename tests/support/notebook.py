"""Write docs/notebook.ipynb, the cells of docs/notebook.md, without outputs: python -m tests.support.notebook."""

import re
from pathlib import Path

import nbformat

DOCS = Path(__file__).parents[2] / "docs"
PAGE, NOTEBOOK = DOCS / "notebook.md", DOCS / "notebook.ipynb"
FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook_of(page: str) -> nbformat.NotebookNode:
    """Return the notebook of a Markdown page: a code cell for each block of Python, and the text between as it is."""
    cells = []
    for place, part in enumerate(FENCE.split(page)):  # the text before a block, the block, the text behind, ...
        if not part.strip():
            continue
        make = nbformat.v4.new_code_cell if place % 2 else nbformat.v4.new_markdown_cell
        cells.append(make(part.strip(), id=f"cell-{len(cells)}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


if __name__ == "__main__":
    NOTEBOOK.write_text(nbformat.writes(notebook_of(PAGE.read_text("utf-8"))) + "\n", encoding="utf-8")
