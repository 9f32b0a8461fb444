"""The picture of fail-over times: a histogram for each kind of blow, one above the other, over the same axis. SVG, by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from chaos.failover import percentile

WIDTH: Final = 760
LEFT, RIGHT, TOP, BETWEEN, BOTTOM = 24, 24, 16, 34, 44
PANEL: Final = 84
BIN_MS: Final = 20
STEPS_MS: Final = (50, 100, 200, 250, 500, 1_000, 2_000)
MOST_MARKS: Final = 12
GREY, BLUE, ORANGE = "#777777", "#4c78a8", "#d9731a"


class Panel(Struct, frozen=True):
    """A histogram: its title, and the times in microseconds."""

    title: str
    times_us: Sequence[int]


def draw(panels: Sequence[Panel]) -> str:
    """Return the picture as the text of an SVG file; it stands on light and dark paper."""
    longest = max((max(panel.times_us) for panel in panels), default=BIN_MS * 1_000) / 1_000
    step = next((it for it in STEPS_MS if longest / it <= MOST_MARKS), STEPS_MS[-1])
    until = (longest // step + 1) * step
    height = TOP + len(panels) * (PANEL + BETWEEN) + BOTTOM
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{GREY}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>']
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + BETWEEN), until)
    parts += _axis(TOP + len(panels) * (PANEL + BETWEEN), until, step)
    return "\n".join([*parts, "</svg>", ""])


def _x(milliseconds: float, until: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * milliseconds / until


def _panel(panel: Panel, top: int, until: float) -> list[str]:
    bins = Counter(time_us // (BIN_MS * 1_000) for time_us in panel.times_us)
    most = max(bins.values())
    floor = top + BETWEEN - 10 + PANEL
    p50, p99 = (percentile(panel.times_us, share) / 1_000 for share in (0.5, 0.99))
    told = f"n {len(panel.times_us)}, p50 {p50:,.0f} ms, p99 {p99:,.0f} ms, max {max(panel.times_us) / 1_000:,.0f} ms"
    parts = [
        f'<text x="{LEFT}" y="{top + 14}"><tspan font-weight="bold">{panel.title}</tspan>   {told}</text>',
    ]
    for number, count in sorted(bins.items()):
        x, wide = _x(number * BIN_MS, until), _x(BIN_MS, until) - LEFT
        high = max(1.0, (PANEL - 8) * count / most)
        parts.append(
            f'<rect x="{x:.1f}" y="{floor - high:.1f}" width="{max(1.0, wide - 1):.1f}" height="{high:.1f}" fill="{BLUE}">'
            f"<title>{number * BIN_MS} to {(number + 1) * BIN_MS} ms: {count}</title></rect>"
        )
    for value in (p50, p99):
        x = _x(value, until)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor - PANEL + 4}" y2="{floor}" stroke="{ORANGE}" stroke-dasharray="3 3"/>'
        )
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}" stroke="{GREY}"/>')
    return parts


def _axis(top: int, until: float, step: int) -> list[str]:
    floor = top - 10
    parts = []
    for milliseconds in range(0, int(until) + 1, step):
        x = _x(milliseconds, until)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}" stroke="{GREY}"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 19}" text-anchor="middle">{milliseconds:,}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    text = f"milliseconds from the blow to the next firing; bars of {BIN_MS} ms, dashes at p50 and p99"
    parts.append(f'<text x="{middle:.0f}" y="{floor + 40}" text-anchor="middle">{text}</text>')
    return parts
