"""The tokeniser that came with a checkpoint of the Hub, whatever its files are."""

import dataclasses
from pathlib import Path

from xfm.data.tokenizers.base import Texts
from xfm.data.tokenizers.loaded import Loaded


@dataclasses.dataclass(frozen=True)
class OfCheckpoint:
    """source: folder or name of the checkpoint.  revision: of its repository.  Nothing is learnt.

    Texts are read by the object that inference uses, `xfm.load(source).tokenizer`.
    """

    source: str
    revision: str | None = None

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Loaded:
        from xfm.hub.files import folder_of, read_json
        from xfm.hub.tokenizer import COMPARED, read_tokenizer

        folder = folder_of(self.source, self.revision)
        config = read_json(folder / "config.json")
        tokenizer = read_tokenizer(folder, config)
        return Loaded(tokenizer, folder, tokenizer.types if config.get("model_type") in COMPARED else 1)
