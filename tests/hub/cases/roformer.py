"""RoFormer: tables narrower than the stream, values turned too, activations, type ids, each head.

Its table of sines is in the files and has no gradient; xfm computes what it holds, and does not write it back.
Multiple choice reads a row's last token, which is therefore not padding here.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=43, embedding_size=10, hidden_size=18, num_hidden_layers=3, num_attention_heads=3,
             intermediate_size=22, max_position_embeddings=19, type_vocab_size=3)  # fmt: skip
ODD = dict(SMALL, embedding_size=None, num_hidden_layers=2, hidden_size=16, num_attention_heads=2, hidden_act="relu",
           layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "roformer_mlm": Case("RoFormerForMaskedLM", SMALL, types=True),
    "roformer_mlm_values": Case("RoFormerForMaskedLM", dict(ODD, rotary_value=True), padding="left"),
    "roformer_model": Case("RoFormerModel", dict(ODD, hidden_act="gelu_new"), padding="right", length=19),
    "roformer_labels": Case("RoFormerForSequenceClassification", dict(ODD, num_labels=5)),
    "roformer_tags": Case("RoFormerForTokenClassification", dict(ODD, num_labels=4), padding="right"),
    "roformer_span": Case("RoFormerForQuestionAnswering", ODD, padding="right", types=True),
    "roformer_choice": Case("RoFormerForMultipleChoice", ODD, padding="middle", choices=2, rows=2),
}
