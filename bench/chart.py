"""The comparison as pictures, a bar for each file system and a line for the limit, and as a table.

Pure.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from bench.peers import OURS

Row = dict[str, Any]
WIDTH, LEFT, BAR, TOP = 720, 170, 26, 44
SPAN = WIDTH - LEFT - 150  # of the longest bar
STYLE = "font-family='sans-serif' font-size='13'"


def ranked(row: Row) -> list[Row]:
    """Return the results, the best first, those that failed last."""
    sign = -1 if row["better"] == "more" else 1
    results: list[Row] = row["results"]
    return sorted(results, key=lambda each: (each["value"] is None, sign * (each["value"] or 0)))


def _measures(row: Row) -> list[Row]:
    """Return the results of others that are a measure for ours."""
    return [
        each
        for each in row["results"]
        if each["value"] and not each["late"] and not each["peer"].startswith(OURS)
    ]


def ratio(row: Row, result: Row) -> str:
    """Return how a result compares with the best of the others, and with the limit."""
    others = [each["value"] for each in _measures(row)]
    more = row["better"] == "more"
    said = []
    if others and result["peer"].startswith(OURS):
        said.append(f"{_factor(row, result['value'], others):.2f}x the best peer")
    if row["limit"]:
        part = result["value"] / row["limit"] if more else row["limit"] / result["value"]
        said.append(f"{part:.0%} of the limit")
    return ", ".join(said)


def _factor(row: Row, value: float, others: list[float]) -> float:
    return value / max(others) if row["better"] == "more" else min(others) / value


def _ours(row: Row) -> list[Row]:
    """Return the results of ours and of its variants; one without a value if there are none."""
    found = [each for each in row["results"] if each["peer"].startswith(OURS)]
    return found or [{"peer": OURS, "value": None}]


def _lead(row: Row, mine: Row) -> float:
    """Return how many times as good as the best of the others we are; 0 where we failed."""
    others = [each["value"] for each in _measures(row)]
    if not mine["value"]:
        return 0.0
    return _factor(row, mine["value"], others) if others else float("inf")


def table(rows: list[Row]) -> str:
    """Return all rows as Markdown, those first where we trail the most; our variants have some."""
    said = [
        "| workload | ours | best of the others | ratio | of the limit |",
        "|---|---|---|---|---|",
    ]
    pairs = [(row, mine) for row in rows for mine in _ours(row)]
    said += [_line(row, mine) for row, mine in sorted(pairs, key=lambda pair: _lead(*pair))]
    return "\n".join(said) + "\n"


def _line(row: Row, mine: Row) -> str:
    best = next((each for each in ranked(row) if each in _measures(row)), None)
    lead = _lead(row, mine)
    name = f"{row['name']}, {row['unit']} ({row['better']} is better)"
    name += mine["peer"].removeprefix(OURS)
    against = f"{best['value']:.4g} ({best['peer']})" if best else "-"
    if not mine["value"]:
        said = "**failed**" if mine in row["results"] else "not measured"
        return f"| {name} | {said} | {against} | | |"
    ratios = f"{lead:.2f}" if best else "-"
    limit = ratio(row, mine).rpartition(" of the limit")[0].rpartition(" ")[2] or "-"
    mark = f"**{ratios}**" if lead < 1 else ratios
    return f"| {name} | {mine['value']:.4g} | {against} | {mark} | {limit} |"


def drawn(row: Row) -> str:
    """Return the row as SVG."""
    results = ranked(row)
    most = max([each["value"] or 0 for each in results] + [row["limit"] or 0]) or 1
    height = TOP + BAR * len(results) + 14
    title = f"{row['name']}, {row['unit']} ({row['better']} is better; *: close() is before S3)"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' {STYLE}>",
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>",
        f"<text x='10' y='22' font-weight='bold'>{escape(title)}</text>",
    ]
    for number, each in enumerate(results):
        y = TOP + BAR * number
        value = each["value"] or 0
        colour = "#2a6fb0" if each["peer"].startswith(OURS) else "#b8b8b8"
        said = f"{value:.4g} {ratio(row, each)}" if each["value"] else "failed"
        long = SPAN * value / most
        name = each["peer"] + ("*" if each["late"] else "")
        parts += [
            f"<text x='{LEFT - 8}' y='{y + 15}' text-anchor='end'>{escape(name)}</text>",
            f"<rect x='{LEFT}' y='{y}' width='{long:.1f}' height='{BAR - 6}' fill='{colour}'/>",
            f"<text x='{LEFT + 6}' y='{y + 15}' font-size='11'>{escape(said)}</text>",
        ]
    if row["limit"]:
        x = LEFT + SPAN * row["limit"] / most
        parts.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{TOP - 8}' y2='{height - 8}' stroke='#c03030'/>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
