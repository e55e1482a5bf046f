"""docs/benchmarks.md from the results of the benchmarks: no figure in it is typed by hand.

Sections of benchmarks that have no results here stay as they stand on the page, and so do splits of a benchmark that
shows each under a title of its own.

    python -m benchmarks.docs
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import MACHINES, read_machines
from benchmarks.table import RESULTS

__all__ = ["PAGE", "main", "page"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

_INTRODUCTION = """\
# Benchmarks

Written by `python -m benchmarks.docs` from what the benchmarks printed; run one with `make bench-NAME`. The peer of a
line ran on the same machine; a ratio is ours to the peer's, so below 1 is less of it.
"""
_SECTION, _BLOCK, _LINE = "## ", "### ", "| "
_HEADER = ("work", "value", "unit", "peer", "peer's value", "ratio", "goal", "met")


def main() -> None:
    """Write the page."""
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(RESULTS, before), encoding="utf-8")
    print(f"wrote {PAGE}")


def page(results: Path, before: str = "") -> str:
    """The page as Markdown: one section per ``NAME.json`` in ``results``, by name, with the machine it ran on.

    Tables of ``NAME.tables.json`` (see `benchmarks.standings.Grid`) stand before the lines of ``NAME.json``.

    Parameters
    ----------
    before : the page as it is, whose other sections are kept.
    """
    machines = read_machines(results)
    files = [path for path in results.glob("*.json") if path.name != MACHINES and "." not in path.stem]
    old = _sections(before)
    new = {path.stem: _section(path, machines.get(path.stem), old.get(path.stem, "")) for path in files}
    sections = old | new
    found = [sections[name] for name in sorted(sections)]
    return "\n".join([_INTRODUCTION, *(found or ["No benchmark has run yet.\n"])])


def _sections(text: str) -> dict[str, str]:
    """The sections of a page by name."""
    parts = text.split(f"\n{_SECTION}")[1:]
    return {part.partition("\n")[0]: f"{_SECTION}{part.rstrip()}\n" for part in parts}


def _section(path: Path, ran: Mapping[str, str] | None, before: str) -> str:
    lines = json.loads(path.read_text(encoding="utf-8"))
    where = f"{ran['date']}, on {ran['machine']}." if ran else "The machine was not noted: run it again."
    about, grids = _about(path.stem), _grids(path.with_suffix(".tables.json"))
    blocks, rows = _others(before, {_split(line["work"]) for line in lines}) if grids else ([], [])
    parts = [
        f"{_SECTION}{path.stem}",
        "",
        *([about, ""] if about else []),
        f"`make bench-{path.stem}`, {where}",
        "",
        *blocks,
        *grids,
        "\n".join([_table(lines), *rows]),
    ]
    return "\n".join(parts) + "\n"


def _split(text: str) -> str:
    """What a title or a line is about: its first word."""
    return text.split()[0].rstrip(":")


def _others(section: str, splits: set[str]) -> tuple[list[str], list[str]]:
    """Blocks and lines of a section about other splits."""
    _, *blocks = section.split(f"\n{_BLOCK}")
    if not blocks:
        return [], []
    last, _, table = blocks[-1].rpartition(f"\n{_LINE}{_HEADER[0]} ")
    kept = [f"{_BLOCK}{block.rstrip()}\n" for block in (*blocks[:-1], last) if _split(block) not in splits]
    rows = [line for line in table.split("\n")[2:] if line and _split(line.removeprefix(_LINE)) not in splits]
    return kept, rows


def _grids(path: Path) -> list[str]:
    """Each table under its title, with its notes below; nothing without the file."""
    if not path.is_file():
        return []
    parts = []
    for grid in json.loads(path.read_text(encoding="utf-8")):
        rows = [[_cell(value) for value in row] for row in grid["rows"]]
        numbers = [all(not isinstance(row[i], str) for row in grid["rows"]) for i in range(len(grid["header"]))]
        rule = ["---:" if right else "---" for right in numbers]
        notes = [line for note in grid["notes"] for line in ("", _text(note) + ".")]
        parts += [f"### {_text(grid['title'])}", "", _markdown([grid["header"], rule, *rows]), *notes, ""]
    return parts


def _cell(value: object) -> str:
    return _text(str(value)) if isinstance(value, str) else _number(value)  # type: ignore[arg-type]


def _text(value: str) -> str:
    return value.replace("|", "\\|")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _about(name: str) -> str:
    """First paragraph of the benchmark's module docstring; "" where there is no such module."""
    path = Path(__file__).with_name(f"{name}.py")
    if not path.exists():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [_HEADER, ("---", "---:", "---", "---", "---:", "---:", "---", "---"), *(_row(line) for line in lines)]
    return _markdown(rows)


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: ""}[line["met"]]
    numbers = {key: _number(line[key]) for key in ("value", "peer_value", "ratio")}
    texts = {key: _text(str(line[key])) for key in ("work", "unit", "peer", "goal")}
    return (
        *(texts["work"], numbers["value"], texts["unit"], texts["peer"]),
        *(numbers["peer_value"], numbers["ratio"], texts["goal"], met),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    main()
