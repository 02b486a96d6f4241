"""The tokeniser that came with a checkpoint of the Hub, whatever its files are."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from xfm.data import paths
from xfm.data.tokenizers.base import Texts
from xfm.data.tokenizers.loaded import Loaded


@dataclasses.dataclass(frozen=True)
class OfCheckpoint:
    """source: folder or name of the checkpoint.  revision: of its repository.  Nothing is learnt."""

    source: str
    revision: str | None = None

    PATHS: ClassVar = {"source": paths.folder}

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Loaded:
        from xfm.hub.files import folder_of, read_json
        from xfm.hub.tokenizer import read_tokenizer

        folder = folder_of(self.source, self.revision)
        return Loaded(read_tokenizer(folder, read_json(folder / "config.json")).backend, folder)
