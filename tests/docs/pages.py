"""Code blocks of the repository's pages, by the marker in the line above them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")))


def block(page: str, marker: str) -> str:
    """The block after `<!-- marker -->` of a page, which must be there once."""
    found = re.findall(rf"<!-- {re.escape(marker)} -->\n```\w*\n(.*?)```", read(page), re.S)
    assert len(found) == 1, f"{page} has {len(found)} blocks after <!-- {marker} -->"
    return found[0]


def commands(page: str) -> list[str]:
    """The lines of all bash blocks, those that go on behind a backslash as one."""
    blocks = re.findall(r"```bash\n(.*?)```", read(page).replace("\\\n", ""), re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def read(page: str) -> str:
    return (ROOT / page).read_text()
