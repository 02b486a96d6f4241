"""Draws colab/house.svg, the figure of the README, from the tables of the library.

python -m tests.docs.house      writes it, at a release
"""

from pathlib import Path
from xml.sax.saxutils import escape

from xfm.catalogue import entries
from xfm.cli import parser
from xfm.data import SOURCES
from xfm.evaluators import EVALUATORS
from xfm.objectives import OBJECTIVES
from xfm.parts import SLOTS
from xfm.structures import STRUCTURES
from xfm.tokenizers import TOKENIZERS
from xfm.transforms import TRANSFORMS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "colab" / "house.svg"

SANS = "font-family=\"'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\""
MONO = "font-family=\"Menlo, Consolas, 'DejaVu Sans Mono', monospace\""
INK, SOFT, LINE = "#2d2a26", "#6d665d", "#c9bfae"
LEFT, RIGHT = 60, 740  # the walls
GARDEN, WIDTH = 770, 1180  # where the configs grow, and where they end
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
        lines = [*lines[:-1], longer] if len(longer) <= width or not lines[-1] else [*lines, name]
    return lines


def room(x, y, width, height, title, names, fill, note=""):
    """A room with its title, a word about it, and the names of what is in it."""
    out = [box(x, y, width, height, fill), text(x + 14, y + 24, title, 14, 'font-weight="700"')]
    if note:
        out.append(text(x + 14, y + 42, note, 12, fill=SOFT))
    for i, line in enumerate(lines_of(names, width)):
        out.append(text(x + 14, y + (61 if note else 43) + 15 * i, line, 11.5, family=MONO))
    return out


def lines_of(names, width):
    return wrapped(names, int((width - 24) / 7.2))


def floor(y, rooms, fill):
    """Rooms side by side, (title, names, note) of each, as high as the fullest needs: their drawing and their end."""
    width = (RIGHT - LEFT) / len(rooms)
    height = max((61 if note else 43) + 15 * len(lines_of(names, width)) for _, names, note in rooms)
    drawing = [
        line
        for i, (title, names, note) in enumerate(rooms)
        for line in room(round(LEFT + width * i, 1), y, round(width, 1), height, title, names, fill, note)
    ]
    return drawing, y + height


def roof():
    middle = (LEFT + RIGHT) / 2
    commands = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
    centred = 'text-anchor="middle"'
    return [
        f'<rect x="{RIGHT - 150}" y="52" width="36" height="60" fill="#9a4530"/>',
        f'<polygon points="{LEFT - 26},150 {middle},28 {RIGHT + 26},150" fill="#b4533a"/>',
        text(middle, 104, "the command line", 12, centred, "#f3d9cf"),
        text(middle, 130, "xfm   " + " · ".join(commands), 14, f'{centred} font-weight="700"', "#ffffff", MONO),
    ]


def equation(y):
    words = text((LEFT + RIGHT) / 2, y + 25, EQUATION, 12.5, 'text-anchor="middle"', family=MONO)
    return [box(LEFT, y, RIGHT - LEFT, 40, "#fffaf0"), words], y + 40


def house():
    """The floors from the roof down, and where the ground is."""
    tools = ["loop", "step", "optimiser", "schedule", "checkpoint", "resume"]
    kernels = sorted(path.parent.name for path in (ROOT / "kernels").glob("*/naive.py"))
    slots = [(slot, table, "") for slot, table in SLOTS.items()]
    levels = [
        ([("train", tools, "trains an objective and knows nothing else"),
          ("data", SOURCES, "rows addressed by (step, row)")], "#f6e7c8"),
        ([("objectives", OBJECTIVES, "a loss over a network"),
          ("evaluators", EVALUATORS, "what is measured and not descended")], "#f9efdc"),
        ([("transforms", TRANSFORMS, "around a network that knows nothing of them"),
          ("tokenizers", TOKENIZERS, "from text to ids")], "#f9efdc"),
        ([("structures", STRUCTURES, "layers are data, scanned over depth")], "#f9efdc"),
        None,
        (slots[:4], "#e4ecdd"),
        (slots[4:], "#e4ecdd"),
        ([("kernels", kernels, "one folder per operation: naive.py defines it, xla.py computes it; JAX alone")],
         "#d5dee6"),
    ]  # fmt: skip
    out, y = roof(), 150
    for level in levels:
        drawing, y = equation(y) if level is None else floor(y, *level)
        out += drawing
    return out, y


def garden(y):
    """The configs beside the house, one card per family in two columns, and which way imports run: drawing and end."""
    out = [
        text(GARDEN + 16, y, "configs", 14, 'font-weight="700"'),
        text(GARDEN + 16, y + 18, "a paper is one file", 12, fill=SOFT),
    ]
    families = {}
    for entry in entries():
        families.setdefault(entry.family, []).append(entry.config.split("/")[1])
    y += 32
    for family, papers in families.items():
        rows = -(-len(papers) // 2)
        out += [box(GARDEN + 16, y, WIDTH - GARDEN - 32, 40 + 16 * rows, "#ffffff", round=8)]
        out += [text(GARDEN + 30, y + 22, family, 13, 'font-weight="700"', "#4d7048")]
        for i, name in enumerate(papers):
            out.append(text(GARDEN + 30 + 182 * (i // rows), y + 42 + 16 * (i % rows), name, 12, family=MONO))
        y += 52 + 16 * rows
    out += [
        f'<path d="M {GARDEN + 40} {y + 6} v 36" stroke="{SOFT}" stroke-width="1.5" fill="none"/>',
        f'<polygon points="{GARDEN + 34},{y + 40} {GARDEN + 46},{y + 40} {GARDEN + 40},{y + 54}" fill="{SOFT}"/>',
        text(GARDEN + 56, y + 32, "imports run downwards only", 12, fill=SOFT),
    ]
    return out, y + 54


def drawn() -> str:
    """The figure as SVG."""
    walls, ground = house()
    cards, end = garden(100)
    ground = max(ground, end + 16)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ground + 62}" width="{WIDTH}" '
        f'height="{ground + 62}" role="img">',
        "<title>The house of xfm: kernels below, parts in their slots, structures and objectives, "
        "training and data, the command line on top; configs beside it</title>",
        f'<rect width="{WIDTH}" height="{ground + 62}" rx="14" fill="#f4f8fb"/>',
        *walls, *cards,
        f'<rect x="0" y="{ground}" width="{WIDTH}" height="62" fill="#8a7a63"/>',
        text(WIDTH / 2, ground + 37, "the same suites run over every part and every config", 15,
             'text-anchor="middle" font-weight="700"', "#fffaf0"),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(drawn())
