"""ALBERT: one group of shared layers, two and as many as layers; type ids; each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, embedding_size=12, hidden_size=24, num_hidden_layers=4, num_attention_heads=3,
             intermediate_size=36, max_position_embeddings=13, type_vocab_size=3)  # fmt: skip
ODD = dict(vocab_size=47, embedding_size=20, hidden_size=20, num_hidden_layers=3, num_attention_heads=5,
           intermediate_size=28, max_position_embeddings=19, hidden_act="relu", layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "albert_pretraining": Case("AlbertForPreTraining", SMALL, types=True, length=13),
    "albert_mlm": Case("AlbertForMaskedLM", ODD, padding="left"),
    "albert_model": Case("AlbertModel", dict(SMALL, num_hidden_groups=2)),
    "albert_labels": Case("AlbertForSequenceClassification", dict(ODD, num_labels=3), types=True),
    "albert_tags": Case("AlbertForTokenClassification", dict(ODD, num_hidden_groups=3, num_labels=4)),
    "albert_span": Case("AlbertForQuestionAnswering", dict(ODD, hidden_act="gelu"), padding="right"),
    "albert_choice": Case("AlbertForMultipleChoice", ODD, choices=2, rows=2),
}
