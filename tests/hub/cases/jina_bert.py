"""JinaBERT: both gates, a number of heads that is no power of two, type ids.

transformers has no such model; tests/hub/jina_bert.py makes it from its BERT.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=43, hidden_size=18, num_hidden_layers=3, num_attention_heads=3, intermediate_size=22,
             max_position_embeddings=32, type_vocab_size=3, position_embedding_type="alibi",
             feed_forward_type="geglu", emb_pooler="mean")  # fmt: skip
ODD = dict(SMALL, num_hidden_layers=2, hidden_size=16, num_attention_heads=4, feed_forward_type="reglu",
           hidden_act="relu", layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "jina_bert_mlm": Case("JinaBertForMaskedLM", SMALL, types=True, padding="left"),
    "jina_bert_model": Case("JinaBertModel", ODD),
    "jina_bert_labels": Case("JinaBertForSequenceClassification", dict(ODD, num_labels=5), padding="right"),
}
