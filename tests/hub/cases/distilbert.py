"""DistilBERT: two activations, each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, dim=24, n_layers=3, n_heads=3, hidden_dim=36, max_position_embeddings=13)
ODD = dict(vocab_size=47, dim=20, n_layers=2, n_heads=5, hidden_dim=28, max_position_embeddings=19)

CASES = {
    "distilbert_mlm": Case("DistilBertForMaskedLM", dict(ODD, activation="relu"), padding="left"),
    "distilbert_model": Case("DistilBertModel", SMALL, length=13),
    "distilbert_labels": Case("DistilBertForSequenceClassification", dict(ODD, num_labels=3)),
    "distilbert_tags": Case("DistilBertForTokenClassification", dict(ODD, num_labels=4, sinusoidal_pos_embds=True)),
    "distilbert_span": Case("DistilBertForQuestionAnswering", ODD, padding="right"),
    "distilbert_choice": Case("DistilBertForMultipleChoice", ODD, choices=2, rows=2),
}
