"""Longformer: windows by layer, rows that fill no window, global tokens given and chosen, padding, heads."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
             attention_window=[8, 4], max_position_embeddings=23, type_vocab_size=1, sep_token_id=4)  # fmt: skip
SAME = dict(SMALL, attention_window=4, hidden_act="relu", pad_token_id=3, layer_norm_eps=1e-5, type_vocab_size=3)
ONE_TWO_NONE = [[1] + [0] * 12, [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0], [0] * 13]
QUESTION = [[7, 9, 4, 4] + [11, 8, 30, 41, 9, 22, 4], [7, 9, 12, 4, 4] + [11, 8, 30, 41, 9, 4]]

CASES = {
    "longformer_mlm": Case("LongformerForMaskedLM", SMALL, length=13, keep="global|query", padding="right",
                           inputs={"global_attention_mask": ONE_TWO_NONE}),
    "longformer_model": Case("LongformerModel", SAME, types=True, padding="right"),
    "longformer_labels": Case("LongformerForSequenceClassification", dict(SMALL, num_labels=5), padding="right"),
    "longformer_span": Case("LongformerForQuestionAnswering", SAME, padding="none", rows=2,
                            inputs={"input_ids": QUESTION}),
    "longformer_tags": Case("LongformerForTokenClassification", dict(SAME, num_labels=4), length=13,
                            inputs={"global_attention_mask": ONE_TWO_NONE}),
}  # fmt: skip
