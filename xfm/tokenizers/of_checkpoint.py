"""The tokeniser of a checkpoint of the Hub, in any of the file formats that xfm reads."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from xfm import locations
from xfm.fields import Name
from xfm.tokenizers.base import Texts
from xfm.tokenizers.loaded import Loaded


@dataclasses.dataclass(frozen=True)
class OfCheckpoint:
    """The spec of a checkpoint's own tokeniser, which reads texts as `xfm.load(source).tokenizer` does; not trained.

    source: folder or Hub name of the checkpoint.  revision: of its repository, by default the main branch.
    """

    source: Name
    revision: Name | None = None

    PATHS: ClassVar = {"source": locations.folder}

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Loaded:
        """The tokeniser of the checkpoint; `texts` are not used."""
        from xfm.folders import folder_of, read_json
        from xfm.tokenizers.checkpoint.tokenizer import COMPARED, read_tokenizer

        folder = folder_of(self.source, self.revision)
        config = read_json(folder / "config.json")
        tokenizer = read_tokenizer(folder, config)
        return Loaded(tokenizer, folder, tokenizer.types if config.get("model_type") in COMPARED else 1)
