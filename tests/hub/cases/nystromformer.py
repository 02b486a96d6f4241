"""Nyströmformer: landmarks, exact attention, kernels short and wider than the row, each head.

With landmarks without padding, which the reference reads as text; it takes rows of segment_means_seq_len tokens only.
Its pseudo-inverse starts from a maximum over the whole batch.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
             num_landmarks=4, segment_means_seq_len=12, conv_kernel_size=5, max_position_embeddings=17,
             type_vocab_size=3)  # fmt: skip
EXACT = dict(SMALL, num_attention_heads=2, segment_means_seq_len=4, conv_kernel_size=15, hidden_act="relu",
             layer_norm_eps=1e-12)  # fmt: skip
PLACES = [[5, 3, 4, 2, 9, 8, 7, 6, 10, 11, 18]] * 3

CASES = {
    "nystromformer_mlm": Case("NystromformerForMaskedLM", SMALL, padding="none", length=12, types=True, keep="conv"),
    "nystromformer_model": Case("NystromformerModel", EXACT, padding="none", keep="conv",
                                inputs={"position_ids": PLACES}),
    "nystromformer_labels": Case("NystromformerForSequenceClassification", dict(SMALL, num_labels=5), padding="none",
                                 length=12),
    "nystromformer_tags": Case("NystromformerForTokenClassification", dict(EXACT, num_labels=4), padding="none"),
    "nystromformer_choice": Case("NystromformerForMultipleChoice", SMALL, padding="none", length=12, choices=2,
                                 rows=2),
}  # fmt: skip
