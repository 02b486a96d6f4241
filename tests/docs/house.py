"""Draws colab/house.svg, the figure of the README, from the tables of the library.

python -m tests.docs.house
"""

from pathlib import Path
from xml.sax.saxutils import escape

from xfm.catalogue import entries
from xfm.data import SOURCES
from xfm.data.tokenizers import TOKENIZERS
from xfm.objectives import OBJECTIVES
from xfm.parts import SLOTS
from xfm.structures import STRUCTURES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "colab" / "house.svg"

SANS = "font-family=\"'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\""
MONO = "font-family=\"Menlo, Consolas, 'DejaVu Sans Mono', monospace\""
INK, SOFT, LINE = "#2d2a26", "#6d665d", "#c9bfae"
LEFT, RIGHT = 60, 740  # the walls
GARDEN = 770  # where the configs grow
EQUATION = "y = out_norm( skip · x + gate · drop( residual_norm( part( in_norm( x )))))"


def text(x, y, words, size=13, look="", fill=INK, family=SANS):
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" {family} {look}>{escape(words)}</text>'


def box(x, y, width, height, fill, line=LINE, round=0):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{round}" fill="{fill}" stroke="{line}"/>'


def wrapped(names, width):
    """Names in lines of at most `width` characters."""
    lines = [""]
    for name in names:
        longer = f"{lines[-1]} · {name}" if lines[-1] else name
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, name]
    return lines


def room(x, y, width, height, title, names, fill, note=""):
    """A room with its title, a word about it, and the names of what is in it."""
    out = [box(x, y, width, height, fill), text(x + 14, y + 24, title, 14, 'font-weight="700"')]
    if note:
        out.append(text(x + 14, y + 42, note, 12, fill=SOFT))
    for i, line in enumerate(wrapped(names, int((width - 24) / 6.9))):
        out.append(text(x + 14, y + (61 if note else 43) + 15 * i, line, 11.5, family=MONO))
    return out


def roof():
    middle = (LEFT + RIGHT) / 2
    commands = "xfm   train · eval · describe · list"
    centred = 'text-anchor="middle"'
    return [
        f'<polygon points="{LEFT - 26},150 {middle},28 {RIGHT + 26},150" fill="#b4533a"/>',
        f'<rect x="{RIGHT - 150}" y="52" width="36" height="60" fill="#9a4530"/>',
        f'<polygon points="{LEFT - 26},150 {middle},28 {RIGHT + 26},150" fill="#b4533a"/>',
        text(middle, 104, "the command line", 12, centred, "#f3d9cf"),
        text(middle, 130, commands, 15, f'{centred} font-weight="700"', "#ffffff", MONO),
    ]


def floors():
    wide, half = RIGHT - LEFT, (RIGHT - LEFT) // 2
    tokens = "tokens: " + ", ".join(TOKENIZERS)
    return [
        *room(LEFT, 150, half, 86, "train", ["loop", "step", "optimiser", "schedule", "sharding", "checkpoint"],
              "#f6e7c8", "trains an objective and knows nothing else"),
        *room(LEFT + half, 150, half, 86, "data", [*SOURCES, tokens], "#f6e7c8", "rows addressed by (step, row)"),
        *room(LEFT, 236, half, 76, "objectives", OBJECTIVES, "#f9efdc", "a loss over a network"),
        *room(LEFT + half, 236, half, 76, "structures", STRUCTURES, "#f9efdc", "layers are data, scanned over depth"),
        box(LEFT, 312, wide, 40, "#fffaf0"),
        text((LEFT + RIGHT) / 2, 337, EQUATION, 12.5, 'text-anchor="middle"', family=MONO),
    ]  # fmt: skip


def parts():
    width, out = (RIGHT - LEFT) // 4, []
    for i, (slot, table) in enumerate(SLOTS.items()):
        x, (y, height) = LEFT + width * (i % 4), ((352, 116), (468, 78))[i // 4]
        out += room(x, y, width, height, slot, table, "#e4ecdd")
    return out


def ground():
    wide = RIGHT - LEFT
    kernels = sorted(path.parent.name for path in (ROOT / "kernels").glob("*/naive.py"))
    return [
        *room(LEFT, 546, wide, 74, "kernels", kernels, "#d5dee6",
              "one folder per operation: naive.py defines it, xla.py computes it; JAX alone"),
        '<rect x="0" y="620" width="1000" height="62" fill="#8a7a63"/>',
        text(500, 657, "the same suites run over every part and every config", 15,
             'text-anchor="middle" font-weight="700"', "#fffaf0"),
    ]  # fmt: skip


def garden():
    """The configs beside the house, one card per family, and which way imports run."""
    out = [
        text(GARDEN + 16, 212, "configs", 14, 'font-weight="700"'),
        text(GARDEN + 16, 230, "a paper is one file", 12, fill=SOFT),
    ]
    families = {}
    for entry in entries():
        families.setdefault(entry.family, []).append(entry.config.split("/")[1])
    y = 244
    for family, papers in families.items():
        height = 40 + 16 * len(papers)
        out += [box(GARDEN + 16, y, 190, height, "#ffffff", round=8)]
        out += [text(GARDEN + 30, y + 22, family, 13, 'font-weight="700"', "#4d7048")]
        out += [text(GARDEN + 30, y + 42 + 16 * i, name, 12, family=MONO) for i, name in enumerate(papers)]
        y += height + 12
    out += [
        f'<path d="M {GARDEN + 40} {y + 22} V 592" stroke="{SOFT}" stroke-width="1.5" fill="none"/>',
        f'<polygon points="{GARDEN + 34},588 {GARDEN + 46},588 {GARDEN + 40},602" fill="{SOFT}"/>',
        text(GARDEN + 56, (y + 610) / 2 - 4, "imports run", 12, fill=SOFT),
        text(GARDEN + 56, (y + 610) / 2 + 12, "downwards only", 12, fill=SOFT),
    ]
    return out


def drawn() -> str:
    """The figure as SVG."""
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 682" width="1000" height="682" role="img">',
        "<title>The house of xfm: kernels below, parts in their slots, structures and objectives, "
        "training and data, the command line on top; configs beside it</title>",
        '<rect width="1000" height="682" rx="14" fill="#f4f8fb"/>',
        *roof(), *floors(), *parts(), *ground(), *garden(),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(drawn())
