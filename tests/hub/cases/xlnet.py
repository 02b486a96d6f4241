"""XLNet: two streams in a drawn order, one way and both, distances clipped and reversed, types, each head and summary.

Rows are padded on the left, as its tokeniser does. The reference reads padding in two places, where xfm does not:
the mean over a row (compared without padding), and answers (compared with a p_mask over padding). Its attn_type "uni"
takes a mask with a single row only, though not for want of a meaning.
"""

import numpy as np

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, d_model=20, n_layer=2, n_head=5, d_inner=36)
OTHER = dict(vocab_size=47, d_model=24, n_layer=3, n_head=3, d_inner=28, layer_norm_eps=1e-5)
LENGTH = 11
ASKED = [[10, 3, 6, 8], [2, 9, 5, 4], [7, 10, 4, 6]]  # positions at which no row has padding, in the order of reading


def order(positions):
    """perm_mask: these positions are read last, in order; no token attends to a later one, or these to themselves."""
    hidden = np.zeros((len(positions), LENGTH, LENGTH), int)
    for row, of_row in enumerate(positions):
        rank = np.zeros(LENGTH, int)
        rank[of_row] = 1 + np.arange(len(of_row))
        hidden[row] = (rank[None, :] >= rank[:, None]) & (rank[None, :] > 0)
    return hidden.tolist()


STREAMS = {"perm_mask": order(ASKED), "target_mapping": np.eye(LENGTH, dtype=int)[np.array(ASKED)].tolist()}
BARRED = [[0] * 11, [1, 1] + [0] * 7 + [1, 0], [1] * 4 + [0] * 6 + [1]]

CASES = {
    "xlnet_lm": Case("XLNetLMHeadModel", SMALL, types=True, padding="left", inputs=STREAMS,
                     keep=r"layer\.1\.rel_attn\.[rqo]$|mask_emb|bias|seg"),
    "xlnet_uni": Case("XLNetModel", dict(OTHER, attn_type="uni", clamp_len=4), rows=1, padding="none",
                      inputs={name: rows[:1] for name, rows in STREAMS.items()}),
    "xlnet_content": Case("XLNetModel", dict(OTHER, ff_activation="relu"), inputs={"perm_mask": order(ASKED)}),
    "xlnet_labels": Case("XLNetForSequenceClassification", dict(SMALL, num_labels=3, clamp_len=3), types=True,
                         padding="left"),
    "xlnet_mean": Case("XLNetForSequenceClassification", dict(SMALL, summary_type="mean", summary_use_proj=False),
                       padding="none"),
    "xlnet_choice": Case("XLNetForMultipleChoice", dict(SMALL, summary_type="first", summary_activation=""),
                         choices=2, rows=2, padding="right"),
    "xlnet_tags": Case("XLNetForTokenClassification", dict(OTHER, num_labels=4, bi_data=True), types=True, rows=4),
    "xlnet_span": Case("XLNetForQuestionAnsweringSimple", dict(SMALL, attn_type="uni"), types=True, rows=1,
                       padding="none"),
    "xlnet_beam": Case("XLNetForQuestionAnswering", dict(SMALL, start_n_top=3, end_n_top=2), padding="left",
                       types=True, inputs={"p_mask": BARRED}),
}  # fmt: skip
