"""MPNet: rows longer than the exact buckets, given positions (which the bias does not see), each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=49, hidden_size=18, num_hidden_layers=3, num_attention_heads=3, intermediate_size=28,
             max_position_embeddings=45, layer_norm_eps=1e-5)  # fmt: skip
ODD = dict(vocab_size=47, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28,
           max_position_embeddings=19, hidden_act="relu")  # fmt: skip
GIVEN = dict(position_ids=[[5, 4, 3, 2, 9, 8, 7, 6, 12, 0, 18]] * 3)  # PyTorch has no gradient for 1, the padding

CASES = {
    "mpnet_mlm": Case("MPNetForMaskedLM", ODD, padding="left"),
    "mpnet_model": Case("MPNetModel", SMALL, length=41, rows=2),
    "mpnet_labels": Case("MPNetForSequenceClassification", dict(ODD, num_labels=3), inputs=GIVEN),
    "mpnet_tags": Case("MPNetForTokenClassification", dict(ODD, num_labels=4), padding="right"),
    "mpnet_span": Case("MPNetForQuestionAnswering", ODD, padding="right"),
    "mpnet_choice": Case("MPNetForMultipleChoice", ODD, choices=2, rows=2),
}
