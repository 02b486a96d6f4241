"""ELECTRA: embeddings narrower than, as wide as and wider than the layers, type ids, each head.

The generator's head and that of classification have the exact gelu whatever hidden_act says.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, embedding_size=12, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
             intermediate_size=36, max_position_embeddings=13, type_vocab_size=3, hidden_act="silu")  # fmt: skip
ODD = dict(vocab_size=47, embedding_size=20, hidden_size=20, num_hidden_layers=2, num_attention_heads=5,
           intermediate_size=28, max_position_embeddings=19, hidden_act="relu", layer_norm_eps=1e-5)  # fmt: skip
WIDE = dict(SMALL, hidden_size=8, num_attention_heads=2, intermediate_size=20)

CASES = {
    "electra_generator": Case("ElectraForMaskedLM", WIDE, types=True, padding="left"),
    "electra_generator_untied": Case("ElectraForMaskedLM", dict(SMALL, tie_word_embeddings=False)),
    "electra_discriminator": Case("ElectraForPreTraining", SMALL, types=True, length=13),
    "electra_labels": Case("ElectraForSequenceClassification", dict(ODD, num_labels=3), types=True),
    "electra_tags": Case("ElectraForTokenClassification", dict(ODD, num_labels=4)),
    "electra_span": Case("ElectraForQuestionAnswering", ODD, padding="right"),
    "electra_choice": Case("ElectraForMultipleChoice", dict(ODD, summary_activation="tanh"), choices=2, rows=2),
}
