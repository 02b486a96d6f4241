"""RemBERT: an input table narrower and an output table wider than the stream, padding on every side, heads."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=36,
             input_embedding_size=12, output_embedding_size=28, max_position_embeddings=17,
             type_vocab_size=3)  # fmt: skip
RELU = dict(SMALL, hidden_act="relu", layer_norm_eps=1e-5)

CASES = {
    "rembert_mlm": Case("RemBertForMaskedLM", SMALL, types=True, keep=r"mapping_in|decoder\.weight", padding="left"),
    "rembert_model": Case("RemBertModel", dict(RELU, num_hidden_layers=2), length=17),
    "rembert_labels": Case("RemBertForSequenceClassification", dict(SMALL, num_labels=5), padding="right"),
    "rembert_span": Case("RemBertForQuestionAnswering", dict(RELU, num_hidden_layers=2), types=True),
    "rembert_choice": Case("RemBertForMultipleChoice", dict(SMALL, num_hidden_layers=2), choices=2, rows=2),
}
