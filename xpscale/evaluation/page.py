"""The report as files: one HTML page that needs nothing else, JSON, and every figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from xpscale.extras import naming_extras
from xpscale.plots.inline import inline_picture
from xpscale.plots.style import save
from xpscale.storage.single_file import put_file

if TYPE_CHECKING:
    from xpscale.evaluation.sections import Section

__all__ = ["PAGE", "write_report"]

PAGE, NUMBERS, TABLES = "index.html", "report.json", "tables.md"


def write_report(
    folder: str, sections: Sequence[Section], facts: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write the files; the page comes last.

    Parameters
    ----------
    folder
        A folder or URL.
    sections
        The report.
    facts
        What was evaluated, and how: name and value, as JSON can hold it.
    overwrite
        Replace an older report.

    Raises
    ------
    ConflictError
        A report is there, and ``overwrite`` is false.
    """
    pictures = {
        (section.name, name): inline_picture(
            drawing.figure, f"{section.name}-{name}", f"{drawing.title}. {drawing.meaning}"
        )
        for section in sections
        for name, drawing in section.drawings.items()
    }
    page = _page(sections, facts, pictures)
    for section in sections:
        for name, drawing in section.drawings.items():
            save(drawing.figure, f"{folder}/figures/{section.name}_{name}.png", overwrite=overwrite)
    numbers = {**facts, "sections": {section.name: section.to_json() for section in sections}}
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    put_file(f"{folder}/{NUMBERS}", text.encode(), overwrite=overwrite)
    put_file(f"{folder}/{TABLES}", _markdown(sections).encode(), overwrite=overwrite)
    put_file(f"{folder}/{PAGE}", page.encode(), overwrite=overwrite)


def _page(
    sections: Sequence[Section],
    facts: Mapping[str, Any],
    pictures: Mapping[tuple[str, str], str],
) -> str:
    with naming_extras():
        from jinja2 import Environment, StrictUndefined
    text = files("xpscale.evaluation").joinpath("pages/report.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(text).render(sections=sections, facts=facts, pictures=pictures)


def _markdown(sections: Sequence[Section]) -> str:
    """Every table, for documents."""
    lines = []
    for section in sections:
        lines += [f"## {section.title}", section.sentence]
        for table in section.tables.values():
            lines += [f"### {table.title}", table.to_markdown(), table.meaning]
    return "\n\n".join(lines) + "\n"
