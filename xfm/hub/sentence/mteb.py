"""An adapter from sentence encoders to MTEB (Muennighoff et al. 2023): `mteb.evaluate(MtebEncoder(encoder), tasks)`."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from xfm.errors import XfmError
from xfm.hub.sentence.encoder import SentenceEncoder, sentence_encoder


class MtebEncoder:
    """A sentence encoder that satisfies `mteb.EncoderProtocol`; only `mteb_model_meta` needs the package mteb.

    model_name: a sentence encoder, or the folder or Hub name of one.  revision: of the Hub's repository.
    """

    def __init__(
        self, model_name: SentenceEncoder | str | Path, revision: str | None = None, *, device: str | None = None
    ):
        if device is not None:
            raise XfmError(f"device={device!r} has no meaning in JAX; set the environment variable JAX_PLATFORMS")
        given = isinstance(model_name, SentenceEncoder)
        self.encoder = model_name if given else sentence_encoder(model_name, revision=revision)
        folder = self.encoder.modules.encoder
        self.name = folder.name if given or Path(model_name).is_dir() else str(model_name)
        self.revision = revision

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **more: Any,
    ) -> Float[np.ndarray, "N D"]:
        """The vectors of all texts in `inputs`, batches that hold them under the key "text".

        With prompt_type P ("query" or "document"), the prompt is the first one that the encoder has of
        "<task name>-P", "<task name>", "<task type>-P", "<task type>" and "P".
        more: batch_size and show_progress_bar are used, other keywords are ignored.
        """
        kind = None if prompt_type is None else getattr(prompt_type, "value", str(prompt_type))
        ours = {key: more[key] for key in ("batch_size", "show_progress_bar") if more.get(key) is not None}
        return self.encoder.encode(list(_texts(inputs)), prompt_name=self._prompt_name(task_metadata, kind), **ours)

    def similarity(self, embeddings1, embeddings2) -> Float[np.ndarray, "N M"]:
        """`SentenceEncoder.similarity`; for two single vectors an array [], which MTEB turns into a float."""
        found = self.encoder.similarity(embeddings1, embeddings2)
        return found.reshape(()) if np.ndim(embeddings1) == np.ndim(embeddings2) == 1 else found

    def similarity_pairwise(self, embeddings1, embeddings2) -> Float[np.ndarray, "N"]:
        """`SentenceEncoder.similarity_pairwise`."""
        return self.encoder.similarity_pairwise(embeddings1, embeddings2)

    @cached_property
    def mteb_model_meta(self) -> Any:
        """The description of the model in MTEB's own class."""
        import mteb
        import mteb.models.model_meta

        known = dict(
            name=self.name if "/" in self.name else f"local/{self.name}",
            revision=self.revision or "local",
            embed_dim=self.encoder.width,
            max_tokens=self.encoder.max_seq_length,
            similarity_fn_name=self.encoder.similarity_fn_name,
            use_instructions=bool(self.encoder.prompts),
        )
        return mteb.models.model_meta.ModelMeta.create_empty(known)

    def _prompt_name(self, task: Any, kind: str | None) -> str | None:
        names = [str(task.name), str(getattr(task.type, "value", task.type))]
        wanted = [one for name in names for one in ([f"{name}-{kind}", name] if kind else [name])]
        return next((name for name in [*wanted, kind] if name in self.encoder.prompts), None)


def _texts(batches: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for batch in batches:
        if "text" not in batch:
            raise XfmError(f"a batch of MTEB has {', '.join(batch)}, but no text; this encoder reads nothing else")
        yield from batch["text"]
