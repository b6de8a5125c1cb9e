# SPDX-License-Identifier: Apache-2.0
"""Bar charts as self-contained SVG text."""

import xml.sax.saxutils

WIDTH, LABELS, BAR, TITLE = 900, 240, 18, 36


def svg_bars(title, panels, is_ours):
    """Panels below each other: [(heading, [(label, value)])]. Bars whose label is_ours are of another colour."""
    lines, y = [], TITLE + 12
    for heading, bars in panels:
        lines.append(f'<text x="12" y="{y + 16}" font-weight="bold">{xml.sax.saxutils.escape(heading)}</text>')
        y += 26
        most = max((value for _, value in bars), default=0) or 1
        for label, value in bars:
            width = (WIDTH - LABELS - 90) * value / most
            colour = "#1f6fb4" if is_ours(label) else "#b8b8b8"
            text = xml.sax.saxutils.escape(label)
            lines.append(f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{text}</text>')
            lines.append(f'<rect x="{LABELS}" y="{y + 2}" width="{width:.1f}" height="{BAR - 4}" fill="{colour}"/>')
            lines.append(f'<text x="{LABELS + width + 6:.1f}" y="{y + 13}">{value:.1f}</text>')
            y += BAR
        y += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n'
        f'<text x="12" y="26" font-size="17">{xml.sax.saxutils.escape(title)}</text>\n' + "\n".join(lines) + "\n</svg>\n"
    )
