"""Reads the `config.json` of a checkpoint, and makes sure that no key is overlooked."""

from collections.abc import Hashable, Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.fields import Count, fault, fits, shown

MISSING = object()

# Keys that do not change the result of a forward pass: names, bookkeeping, training, generation. Heads may read some.
HARMLESS = frozenset(
    """
    architectures model_type transformers_version torch_dtype dtype _name_or_path name_or_path _commit_hash
    return_dict return_dict_in_generate output_attentions output_hidden_states output_scores torchscript use_cache
    output_past tie_weights_
    id2label label2id num_labels tie_word_embeddings problem_type finetuning_task task_specific_params tokenizer_class
    prefix
    pad_token_id bos_token_id eos_token_id sep_token_id cls_token_id mask_token_id unk_token_id decoder_start_token_id
    hidden_dropout_prob attention_probs_dropout_prob classifier_dropout hidden_dropout attention_dropout dropout
    initializer_range initializer_factor gradient_checkpointing chunk_size_feed_forward use_bfloat16 tf_legacy_loss
    max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences exponential_decay_length_penalty suppress_tokens begin_suppress_tokens forced_bos_token_id
    forced_eos_token_id remove_invalid_values sentence_transformers language name_ adapters directionality
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type auto_map
    attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset
    sbert_ce_default_activation_function pooler_dropout cls_dropout
    feature_extractor_type deterministic_flash_attn reference_compile repad_logits_with_grad
""".split()
)
# Keys that would change the result with other values than these.
ONLY = {
    "is_decoder": (False, None), "is_encoder_decoder": (False, None), "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,), "pruned_heads": ({}, None), "tie_encoder_decoder": (False, None),
    "quantization_config": (None,), "position_embedding_type": ("absolute", None),
}  # fmt: skip


class Settings:
    """The content of a config.json, which records the keys that are read.

    `settings["key"]` and `settings.get("key", default)` read a key; of a tuple of names they read the first that is
    there, since generations of these files differ. `settings.finish()` raises XfmError for keys that were not read and
    are not known to be harmless.

    content: of the file.  path: its name in errors.  ignore: keys that the caller declares harmless.
    """

    def __init__(self, content: Mapping[str, Any], path: str = "config.json", ignore: tuple[str, ...] = ()):
        self.content, self.path = dict(content), str(path)
        self.ignore, self._read = tuple(ignore), set(ignore)

    def __getitem__(self, names: str | tuple[str, ...]) -> Any:
        value = self.get(names, MISSING)
        if value is MISSING:
            wanted = names if isinstance(names, str) else " or ".join(names)
            raise XfmError(f"{self.path} lacks {wanted}, without which the network cannot be built")
        return value

    def get(self, names: str | tuple[str, ...], default: Any = None) -> Any:
        """The value of the first of `names` that the file has, else `default`."""
        names = (names,) if isinstance(names, str) else names
        self._read.update(names)
        return next((self.content[name] for name in names if name in self.content), default)

    def only(self, name: str, *legal: Any) -> None:
        """Reads a key that must be absent or have one of the values `legal`. Raises XfmError for other values."""
        value = self.get(name, legal[0])
        if value not in legal:
            raise XfmError(f"{self.path} sets {name} to {shown(value)}; xfm has this family with {_either(legal)}")

    def choose(self, names: str | tuple[str, ...], table: Mapping[str, Any], default: Any = MISSING) -> Any:
        """The entry of `table` for the value of a key. Raises XfmError, listing the legal values, if it has none."""
        value = self[names] if default is MISSING else self.get(names, default)
        if not isinstance(value, Hashable) or value not in table:
            what = names if isinstance(names, str) else names[0]
            raise XfmError(f"{self.path} sets {what} to {shown(value)}; xfm knows {', '.join(map(str, table))}")
        return table[value]

    def inside(self, name: str) -> "Settings":
        """The settings in the object under a key, such as those of one tower. Raises XfmError for other values."""
        value = self[name]
        if not isinstance(value, Mapping):
            raise XfmError(f"{self.path} sets {name} to {shown(value)}; it must be an object with a network's settings")
        return Settings(value, f"{self.path}, {name}", self.ignore)

    @property
    def labels(self) -> dict[int, str]:
        """The names of a head's classes by number; two of them if the file does not say.

        Raises XfmError if id2label or num_labels is not valid.
        """
        given = self.content.get("id2label")
        if given is None or given == {}:
            return {number: f"LABEL_{number}" for number in range(self._number_of_labels())}
        numbers = sorted(given, key=len) if isinstance(given, Mapping) else []
        if (
            not numbers
            or {str(n) for n in range(len(numbers))} != set(numbers)
            or not fits(given, Mapping[str, str | int])
        ):
            raise XfmError(f"{self.path} sets id2label to {shown(given)}; it must name each class, from '0' on")
        return {int(number): str(name) for number, name in given.items()}

    def _number_of_labels(self) -> int:
        given = self.content.get("num_labels")
        given = 2 if given is None else given
        if wanted := fault(given, Count):
            raise XfmError(f"{self.path} sets num_labels to {shown(given)}; it must be {wanted}")
        return given

    def finish(self) -> None:
        """Checks, after the network is described, that every key that may change the result was read.

        Raises XfmError for other keys, unless they are empty or in `ignore`.
        """
        for name, legal in ONLY.items():
            if name not in self._read:
                self.only(name, *legal)
        nothing = (None, False, "", [], {})
        strange = [
            name
            for name, value in self.content.items()
            if name not in self._read | HARMLESS and not name.startswith("_") and value not in nothing
        ]
        if strange:
            raise XfmError(
                f"{self.path} sets {shown(', '.join(strange), 200)[1:-1]}, which xfm does not know in this family and "
                f"which may change the result; if it does not, load with ignore={shown(tuple(strange), 200)}"
            )


def _either(values: tuple[Any, ...]) -> str:
    words = [repr(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


# The Hub's name of an activation -> xfm's.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu", "quick_gelu": "quick_gelu", "relu": "relu", "relu2": "relu_squared", "silu": "silu",
    "swish": "silu", "tanh": "tanh", "sigmoid": "sigmoid", "linear": "identity", "mish": "mish",
}  # fmt: skip
