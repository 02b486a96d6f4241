"""ConvBERT: a narrow embedding, grouped maps, short and long kernels, ratios of heads, each head.

Without padding, which the reference's convolutions read as text.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
             embedding_size=12, conv_kernel_size=5, max_position_embeddings=19, type_vocab_size=3)  # fmt: skip
GROUPED = dict(SMALL, num_attention_heads=2, num_groups=4, conv_kernel_size=3, hidden_act="relu")
LONG = dict(SMALL, num_attention_heads=3, head_ratio=4, conv_kernel_size=9, embedding_size=16,
            layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "convbert_mlm": Case("ConvBertForMaskedLM", SMALL, padding="none", types=True, keep="key_conv|project"),
    "convbert_model": Case("ConvBertModel", GROUPED, padding="none", length=16, keep=r"0\.intermediate"),
    "convbert_labels": Case("ConvBertForSequenceClassification", dict(LONG, num_labels=5), padding="none", length=7),
    "convbert_span": Case("ConvBertForQuestionAnswering", GROUPED, padding="none", types=True),
    "convbert_choice": Case("ConvBertForMultipleChoice", LONG, padding="none", choices=2, rows=2),
}
