"""The model card (README.md) of a saved checkpoint: what it is, how to use it, and what it was made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FRONT = "---"


def card(checkpoint: Any, config: Mapping[str, Any], parameters: int, about: Mapping[str, Any]) -> str:
    """The text of the card.

    config: of config.json.  parameters: their number.
    about: any of "data" and "training" (JSON values), "metrics" (name -> number), and "notes" (lines).
    The front matter and the text of the card of the checkpoint that was loaded are kept.
    """
    front, older = _older(checkpoint.folder / "README.md")
    kind = checkpoint.family.model_type
    heads = [task for task in checkpoint.heads if task != "pooled"]
    lines = [FRONT, *front, FRONT, "", f"# {kind} written by xfm", ""]
    lines += [
        f"{parameters:,} parameters; heads: {', '.join(heads) or 'none'}. The files are those of transformers "
        f"(`{(config.get('architectures') or [kind])[0]}`).",
        "",
        "```python",
        "import xfm",
        "",
        'm = xfm.load("PATH_OF_THIS_FOLDER")',
        "m(input_ids=…, attention_mask=…)",
        "```",
        "",
    ]
    if about.get("notes"):
        lines += ["## Not as it was trained", "", *(f"- {note}" for note in about["notes"]), ""]
    if about.get("metrics"):
        lines += ["## Metrics", "", "| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in about["metrics"].items()] + [""]
    if about.get("data"):
        lines += ["## Data", "", *_json(about["data"])]
    if about.get("training"):
        lines += ["## Training", "", *_json(about["training"])]
    lines += ["## Configuration", "", *_json(config)]
    if older:
        lines += ["## The card of the checkpoint that this was made from", "", older, ""]
    return "\n".join(lines)


def _json(content: Any) -> list[str]:
    return ["```json", json.dumps(content, indent=2, ensure_ascii=False), "```", ""]


def _older(path: Path) -> tuple[list[str], str]:
    """The lines of a card's front matter, and the text below it; a default if there is no readable card."""
    new = ["library_name: transformers", "tags:", "- xfm"]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return new, ""
    lines = text.splitlines()
    if lines[:1] != [FRONT] or FRONT not in lines[1:]:
        return new, text.strip()
    end = lines.index(FRONT, 1)
    return lines[1:end], "\n".join(lines[end + 1 :]).strip()
