"""GPT-2: fused [in, out] matrices, scores scaled by layer and not at all, padding on either side, each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, n_embd=20, n_layer=3, n_head=5, n_inner=28, n_positions=17,
             pad_token_id=0, bos_token_id=1, eos_token_id=2)  # fmt: skip
ODD = dict(SMALL, n_layer=2, n_inner=None, activation_function="relu", layer_norm_epsilon=1e-4)

CASES = {
    "gpt2_lm": Case("GPT2LMHeadModel", SMALL, padding="left", keep=r"0\.attn\.c_attn"),
    "gpt2_scaled": Case("GPT2Model", dict(SMALL, n_layer=2, scale_attn_by_inverse_layer_idx=True), length=17),
    "gpt2_labels": Case("GPT2ForSequenceClassification", dict(ODD, num_labels=4, scale_attn_weights=False),
                        padding="right", special=((r"c_attn", 0.0, 0.15),)),
    "gpt2_tags": Case("GPT2ForTokenClassification", dict(ODD, num_labels=3)),
    "gpt2_span": Case("GPT2ForQuestionAnswering", ODD, padding="none"),
}  # fmt: skip
