"""Panels of the dashboard as one SVG: curves over time, with a legend. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP, LEFT, TOP, FOOT = 380, 210, 16, 62, 28, 40
COLOURS = ("#2a6fbb", "#c8553d", "#3a8f5c", "#8e5bb5", "#b58a1b", "#777777")
STYLE = "font-family='sans-serif' font-size='11'"
MOST = len(COLOURS)
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One panel: curves by legend, in a unit of the dashboard."""

    title: str
    unit: str
    curves: dict[str, Points]


def drawn(charts: list[Chart], columns: int = 2) -> str:
    """Return all of them as one picture."""
    rows = -(-len(charts) // columns)
    wide, high = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}' {STYLE}>",
        f"<rect width='{wide}' height='{high}' fill='#f4f5f5'/>",
    ]
    for at, chart in enumerate(charts):
        x, y = GAP + at % columns * (WIDTH + GAP), GAP + at // columns * (HEIGHT + GAP)
        parts.append(f"<g transform='translate({x} {y})'>{_chart(chart)}</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(chart: Chart) -> str:
    # The largest ones, by what they reach; a legend for more would be unreadable.
    ranked = sorted(chart.curves.items(), key=lambda item: -max(v for _, v in item[1]))[:MOST]
    points = [point for _, curve in ranked for point in curve]
    first, last = min(t for t, _ in points), max(t for t, _ in points)
    top = max(max(v for _, v in points), 1e-9)
    parts = [
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white' stroke='#dddddd'/>",
        f"<text x='8' y='18' font-weight='bold'>{escape(chart.title)}</text>",
    ]
    for part in (0.0, 0.5, 1.0):
        y = _y(part * top, top)
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - 8}' y1='{y}' y2='{y}' stroke='#eeeeee'/>")
        label = escape(shown(part * top, chart.unit))
        parts.append(f"<text x='{LEFT - 4}' y='{y + 4}' text-anchor='end'>{label}</text>")
    for at, (name, curve) in enumerate(ranked):
        where = " ".join(
            f"{LEFT + (t - first) / max(last - first, 1) * (WIDTH - LEFT - 8):.1f},{_y(v, top)}"
            for t, v in curve
        )
        line = f"fill='none' stroke='{COLOURS[at]}' stroke-width='1.5'"
        parts.append(f"<polyline points='{where}' {line}/>")
        x, y = 8 + at % 3 * (WIDTH - 8) // 3, HEIGHT - FOOT + 22 + at // 3 * 13
        parts.append(f"<text x='{x}' y='{y}' fill='{COLOURS[at]}'>{escape(name[:20])}</text>")
    return "".join(parts)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - FOOT - value / top * (HEIGHT - FOOT - TOP - 8), 1)


def shown(value: float, unit: str) -> str:
    """Return a value as Grafana would, in a dashboard's unit."""
    if unit in ("bytes", "Bps"):
        for word in ("B", "KiB", "MiB", "GiB"):
            if value < 1024 or word == "GiB":
                return f"{value:.3g} {word}{'/s' if unit == 'Bps' else ''}"
            value /= 1024
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value:.0%}"
    return f"{value:.3g}{'/s' if unit in ('ops', 'reqps') else ''}"
