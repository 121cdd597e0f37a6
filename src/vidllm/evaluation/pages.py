"""A report as Markdown beside its pictures, and as one HTML file that carries them."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vidllm.evaluation.report import markdown_grid

_MEDIA = {".png": "image/png", ".jpg": "image/jpeg"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
div.grid { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #e4e4e4; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr:hover { background: #f4f6fa; }
tr.published td { color: #666; font-style: italic; }
figure { margin: 1.2rem 0; } img { max-width: 100%; } figcaption { font-size: 0.9rem; }
li { font-size: 0.9rem; color: #444; }
"""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    published: int = 0
    """So many rows, the last ones, are not ours; HTML sets them apart."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file and what is seen on it."""

    file: str
    """From the report's folder."""
    caption: str


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A list of remarks."""

    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Grid | Picture | Notes]


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Pictures are links."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def to_html(title: str, sections: Sequence[Section], folder: Path) -> str:
    """Pictures of the folder are inside: the file can be sent on its own."""
    body = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        body += [_html(block, folder) for block in section.blocks]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
    )
    return "\n".join([head, "<body>", *body, "</body></html>"]) + "\n"


def _markdown(block: Grid | Picture | Notes) -> str:
    if isinstance(block, Grid):
        return markdown_grid(block.head, block.rows)
    if isinstance(block, Picture):
        return f"![{Path(block.file).stem}]({block.file})\n\n{_plain(block.caption)}"
    return "\n".join(f"- {_plain(line)}" for line in block.lines)


def _plain(text: str) -> str:
    """Markdown that shows angle brackets as they are."""
    return text.replace("<", "&lt;")


def _html(block: Grid | Picture | Notes, folder: Path) -> str:
    if isinstance(block, Notes):
        return "<ul>" + "".join(f"<li>{_with_code(line)}</li>" for line in block.lines) + "</ul>"
    if isinstance(block, Picture):
        file = folder / block.file
        data = base64.b64encode(file.read_bytes()).decode()
        caption = escape(block.caption)
        return (
            f'<figure><img alt="{caption}" src="data:{_MEDIA[file.suffix]};base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    ours = len(block.rows) - block.published
    rows = [
        f"<tr{' class=published' if index >= ours else ''}>{_cells(row, 'td')}</tr>"
        for index, row in enumerate(block.rows)
    ]
    head = f"<tr>{_cells(block.head, 'th')}</tr>"
    return f'<div class="grid"><table>{head}{"".join(rows)}</table></div>'


def _with_code(text: str) -> str:
    """What stands between back quotes, as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _cells(cells: Sequence[str], tag: str) -> str:
    texts = (escape(cell).replace(" .. ", "&nbsp;..&nbsp;") for cell in cells)  # intervals
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)
