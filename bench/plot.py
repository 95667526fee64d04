"""Plots as SVG, by hand: bars of what is measured once, lines of what grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from math import log10

_WIDTH, _ROW, _LEFT, _TOP = 760, 24, 150, 56  # pixels
_HEIGHT = 340
_COLOURS = ("#20639b", "#d95f02", "#3caea3", "#7570b3", "#a6761d", "#e7298a")
_STYLE = "<style>text{font:13px sans-serif;fill:#222}.t{font-weight:bold}.q{fill:#666;font-size:12px}</style>"

Points = Sequence[tuple[float, float]]


def bars(title: str, unit: str, values: Mapping[str, float], ours: Sequence[str] = ()) -> str:
    """One bar a name; those of ``ours`` stand out."""
    most = max(values.values(), default=0) or 1
    room = _WIDTH - _LEFT - 90
    parts = []
    for n, (name, value) in enumerate(values.items()):
        y, width = _TOP + n * _ROW, max(1.0, value / most * room)
        colour = _COLOURS[0] if name in ours else "#9aa5b1"
        parts += [f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
                  f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_ROW - 6}" fill="{colour}"/>',
                  f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}" class="q">{_short(value)}</text>']
    return _sheet(_TOP + len(values) * _ROW + 12, title, unit, parts)


def lines(title: str, unit: str, across: str, series: Mapping[str, Points]) -> str:
    """One line a name, over a logarithmic axis."""
    points = [point for own in series.values() for point in own]
    low, high = log10(min(x for x, _ in points)), log10(max(x for x, _ in points))
    most = max(y for _, y in points) * 1.1 or 1

    def place(x: float, y: float) -> tuple[float, float]:
        share = (log10(x) - low) / ((high - low) or 1)
        return 60 + share * (_WIDTH - 220), _HEIGHT - 50 - y / most * (_HEIGHT - 60 - _TOP)

    bottom = _HEIGHT - 50
    parts = [f'<path d="M60 {_TOP} V{bottom} H{_WIDTH - 150}" fill="none" stroke="#888"/>',
             f'<text x="330" y="{_HEIGHT - 10}" class="q" text-anchor="middle">{escape(across)}</text>']
    parts += [f'<text x="{place(x, 0)[0]:.1f}" y="{bottom + 18}" class="q" text-anchor="middle">{_short(x)}</text>'
              for x in sorted({x for x, _ in points})]
    for share in (0.25, 0.5, 0.75, 1):
        y = place(10**low, most * share)[1]
        parts.append(f'<text x="54" y="{y + 4:.1f}" class="q" text-anchor="end">{_short(most * share)}</text>')
    for (name, own), colour in zip(series.items(), _COLOURS * len(series), strict=False):
        spots = [place(*point) for point in own]
        parts += [f'<path d="M{x:.1f} {y:.1f} L{to_x:.1f} {to_y:.1f}" stroke="{colour}" stroke-width="2"/>'
                  for (x, y), (to_x, to_y) in pairwise(spots)]
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<text x="{spots[-1][0] + 8:.1f}" y="{spots[-1][1] + 4:.1f}">{escape(name)}</text>')
    return _sheet(_HEIGHT, title, unit, parts)


def _sheet(height: int, title: str, unit: str, parts: Sequence[str]) -> str:
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">',
        _STYLE, f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="22" class="t">{escape(title)}</text>', f'<text x="12" y="40" class="q">{escape(unit)}</text>',
        *parts, "</svg>", ""))


def _short(value: float) -> str:
    """Three digits that count, and thousands as k, millions as M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"
