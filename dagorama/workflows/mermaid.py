"""Workflows as drawings for Mermaid, which forges and notebooks render."""

from __future__ import annotations

from html import escape

from dagorama.workflows.model import Workflow


def write(workflow: Workflow) -> str:
    """Return the flowchart of a workflow, with a node for each task, in the order of the file."""
    numbers = {task.id: number for number, task in enumerate(workflow.tasks, start=1)}
    nodes = [f'    t{numbers[task.id]}["{_text(task.shown)}"]' for task in workflow.tasks]
    edges = [f"    t{numbers[one]} --> t{numbers[task.id]}" for task in workflow.tasks for one in task.depends]
    return "\n".join(["flowchart TD", *nodes, *edges, ""])


def _text(text: str) -> str:
    """Return a text as it may stand in quotes there."""
    return escape(text, quote=True).replace("#", "&num;").replace("\n", " ")
