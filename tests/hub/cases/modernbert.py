"""ModernBERT: windows with layers that make whole periods and that do not, both rotary bases, biases, each head.

"cls" pooling takes the first token of a row in sequence classification and the first that is not padding in multiple
choice, so only the latter has padding on the left here.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=47, hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=12,
             local_attention=6, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
             sep_token_id=2)  # fmt: skip
THIN = dict(SMALL, num_hidden_layers=2, hidden_size=12, intermediate_size=10)
BIASES = dict(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True)
ROPE = dict(full_attention=dict(rope_type="default", rope_theta=500.0),
            sliding_attention=dict(rope_type="default", rope_theta=30.0))  # fmt: skip
TYPES = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]

CASES = {
    "modernbert_mlm": Case("ModernBertForMaskedLM", SMALL, length=17),
    "modernbert_mlm_biases": Case(
        "ModernBertForMaskedLM",
        dict(THIN, **BIASES, num_hidden_layers=4, layer_types=TYPES, rope_parameters=ROPE, local_attention=3,
             hidden_activation="silu", classifier_activation="relu", tie_word_embeddings=False, norm_eps=1e-3),
        padding="left",
    ),
    "modernbert_mlm_plain": Case(
        "ModernBertForMaskedLM", dict(THIN, num_hidden_layers=1, decoder_bias=False), padding="none", rows=2
    ),
    "modernbert_model": Case("ModernBertModel", dict(THIN, num_hidden_layers=3), padding="right"),
    "modernbert_labels": Case("ModernBertForSequenceClassification", dict(THIN, num_labels=5)),
    "modernbert_labels_mean": Case(
        "ModernBertForSequenceClassification", dict(THIN, **BIASES, num_labels=3, classifier_pooling="mean")
    ),
    "modernbert_tags": Case("ModernBertForTokenClassification", dict(THIN, num_labels=4), padding="right"),
    "modernbert_span": Case("ModernBertForQuestionAnswering", THIN, padding="right"),
    "modernbert_choice": Case("ModernBertForMultipleChoice", THIN, choices=2, rows=2, padding="left"),
}  # fmt: skip
