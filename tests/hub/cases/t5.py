"""T5 encoders: free head width, both feed-forward parts, buckets that a row of 23 tokens runs through, tagging."""

from tests.hub.cases import Case

# Products of queries and keys are not scaled down, so the weights must be smaller for a softmax that is not one-hot.
SPECIAL = ((r"\.(q|k)\.weight$", 0.0, 0.15), (r"relative_attention_bias", 0.0, 1.0))
SMALL = dict(vocab_size=53, d_model=20, d_kv=6, d_ff=28, num_layers=3, num_heads=3,
             relative_attention_num_buckets=12, relative_attention_max_distance=18)  # fmt: skip
ODD = dict(SMALL, num_layers=2, num_heads=5, layer_norm_epsilon=1e-5)

CASES = {
    "t5_encoder": Case("T5EncoderModel", SMALL, special=SPECIAL, length=23, keep="relative"),
    "t5_encoder_gated": Case("T5EncoderModel", dict(ODD, feed_forward_proj="gated-silu"), special=SPECIAL,
                             padding="left"),
    "t5_tags": Case("T5ForTokenClassification", dict(ODD, num_labels=4), special=SPECIAL, padding="right"),
    "mt5_encoder": Case("MT5EncoderModel", ODD, special=SPECIAL, length=17),
    "t5_whole": Case("T5ForConditionalGeneration", dict(ODD, num_decoder_layers=1), part="encoder", special=SPECIAL),
    "umt5_encoder": Case("UMT5EncoderModel", SMALL, special=SPECIAL, length=19, keep="relative"),
}  # fmt: skip
