"""FNet: odd and even lengths and widths, types, each head; without padding, which the reference mixes into all."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=20, num_hidden_layers=3, intermediate_size=36, max_position_embeddings=19,
             type_vocab_size=3, tpu_short_seq_length=19)  # fmt: skip
ODD = dict(SMALL, hidden_size=15, num_hidden_layers=2, hidden_act="relu", layer_norm_eps=1e-5)
MATRIX = dict(SMALL, num_hidden_layers=2, use_tpu_fourier_optimizations=True, tpu_short_seq_length=12)

CASES = {
    "fnet_pretraining": Case("FNetForPreTraining", SMALL, padding="none", types=True, keep="projection"),
    "fnet_mlm": Case("FNetForMaskedLM", ODD, padding="none", length=16),
    "fnet_labels": Case("FNetForSequenceClassification", dict(ODD, num_labels=5), padding="none", length=12),
    "fnet_span": Case("FNetForQuestionAnswering", ODD, padding="none", types=True),
    "fnet_choice": Case("FNetForMultipleChoice", dict(ODD, hidden_act="gelu"), padding="none", choices=2, rows=2),
}
