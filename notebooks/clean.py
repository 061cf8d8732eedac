"""Make executed notebooks the same on every computer and every day, so that commits stay small.

    jupyter execute --inplace notebooks/*.ipynb
    python notebooks/clean.py notebooks/*.ipynb

`make notebooks` does both. Outputs are kept; what goes is when and by which Python they were made,
the steps of progress bars, and widgets, which need a running kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"


def clean(notebook: NotebookNode) -> NotebookNode:
    """Remove from a notebook what differs from run to run; it is changed and returned."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = joined_streams(cell.outputs)
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET, None)
    return notebook


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One output for each stream, where its first part was: parts come as the clock has it."""
    streams: dict[str, NotebookNode] = {}
    kept = []
    for output in outputs:
        if output.output_type != "stream":
            kept.append(output)
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
            kept.append(output)
    for stream in streams.values():
        stream.text = "\n".join(map(last_state, stream.text.split("\n")))
    return kept


def last_state(line: str) -> str:
    """A line as a terminal shows it in the end: each carriage return begins it anew."""
    return line.rstrip("\r").rpartition("\r")[2]


def main(paths: list[str]) -> None:
    """Clean the files."""
    for path in map(Path, paths):
        nbformat.write(clean(nbformat.read(path, as_version=4)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
