"""Mistakes in backbones of images, and in what finds objects in them."""

from tests.mistakes.base import Mistake

OWED, STARTS, DROPS = (f"tests/parts/test_{name}.py" for name in ("owed", "starts", "drops"))
EMBED, RESIDUAL, POSITION, MIXER = (f"xfm/parts/{slot}" for slot in ("embed", "residual", "position", "mixer"))
VALUES, BASELINES = "tests/evaluators/test_values.py", "tests/objectives/test_baselines.py"

IMAGES = (
    # --- backbones of images
    Mistake(
        "the averages of batch normalisation take the biased variance",
        "xfm/parts/norm/batchnorm.py",
        "variance * (count / max(count - 1, 1))",
        "variance",
        "tests/train/test_statistics.py -k averages",
    ),
    Mistake(
        "words are added to the sentences before theirs",
        "xfm/structures/nested.py",
        "((0, 0), (T - made.shape[1], 0), (0, 0))",
        "((0, 0), (0, T - made.shape[1]), (0, 0))",
        "tests/parity/test_backbones.py -k tnt",
    ),
    Mistake(
        "the tokens-to-token stem adds its attention to queries instead of values",
        "xfm/parts/stem/tokens_to_token.py",
        "h = v[:, :, 0] + Linear",
        "h = q[:, :, 0] + Linear",
        f"{OWED} -k formula and tokens_to_token",
    ),
    Mistake(
        "hidden pixels are left in the images of which hidden patches are padding",
        "xfm/objectives/masked_images.py",
        "return {self.seen: jnp.where(blank, 0, images),",
        "return {self.seen: images,",
        "tests/objectives/test_masked_images.py -k hidden_pixels",
    ),
    Mistake(
        "the holes of finer maps are where those of the coarsest one are",
        "xfm/parts/head/unet_pixels.py",
        "visible = visible.repeat(2, 1).repeat(2, 2)",
        "visible = jnp.tile(visible, (1, 2, 2))",
        f"{OWED} -k formula and unet_pixels",
    ),
    Mistake(
        "the teacher of corrupted images reads what is corrupted",
        "xfm/objectives/corrupted_images.py",
        "{NAME: clean})",
        "{NAME: jnp.concatenate(damaged)})",
        "tests/objectives/test_corrupted_images.py -k by_hand",
    ),
    # --- stages of PVT
    Mistake(
        "learned tokens stand after the grid's",
        "xfm/parts/down/positioned.py",
        "jnp.concatenate([jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:])), x], axis=1)",
        "jnp.concatenate([x, jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:]))], axis=1)",
        "tests/parts/test_downs.py -k learned_tokens",
    ),
    # --- blocks of AsCAN
    Mistake(
        "a gate of channels reads the mean over padding as well",
        f"{MIXER}/fused_mbconv.py",
        "total = jnp.where(real[..., None], h, 0).sum(1, dtype=jnp.float32)",
        "total = h.sum(1, dtype=jnp.float32)",
        f"{OWED} -k fused_mbconv",
    ),
    # --- MIMDet
    Mistake(
        "the maximum of equal tokens is their sum",
        "xfm/parts/down/pool.py",
        "chosen = real & (first == jnp.arange(x.shape[3])[:, None])",
        "chosen = real & (x == jnp.take_along_axis(x, first, axis=3))",
        "tests/parts/test_downs.py -k equal_tokens",
    ),
    Mistake(
        "tokens that are left out enter the decoder with the positions of the encoder",
        "xfm/parts/down/sampled.py",
        'whole, x = x, build(POSITIONS, self.position, name="position").add(x, ctx)',
        'whole = x = build(POSITIONS, self.position, name="position").add(x, ctx)',
        "tests/parts/test_sampled.py -k their_own_positions",
    ),
    Mistake(
        "padding is sampled as often as tokens are",
        "xfm/parts/down/sampled.py",
        "noise = jnp.where(real, jax.random.uniform(key, real.shape), 2.0)",
        "noise = jax.random.uniform(key, real.shape)",
        "tests/parts/test_sampled.py -k padding_is_sampled_last",
    ),
    Mistake(
        "a stage without layers takes part in the depth of the others",
        "xfm/structures/pyramid.py",
        "return self.repeats if self.pattern else 0, 1",
        "return self.repeats, 1",
        "tests/structures/test_pyramid.py -k depth_runs",
    ),
    # --- clicks
    Mistake(
        "a click on equally deep errors is positive",
        "xfm/objectives/simulated_clicks.py",
        "positive = missed.max(1) > wrong.max(1)",
        "positive = missed.max(1) >= wrong.max(1)",
        "tests/objectives/test_clicks.py -k largest_error",
    ),
    Mistake(
        "what lies at the edge of an image is as deep as if the image went on",
        "xfm/objectives/simulated_clicks.py",
        "across = jnp.minimum(along(~inside, 2), jnp.minimum(columns + 1, W - columns)) ** 2",
        "across = jnp.minimum(along(~inside, 2), W) ** 2",
        "tests/objectives/test_clicks.py -k distances",
    ),
    Mistake(
        "the scale of the focal loss has a gradient",
        "xfm/objectives/clicks.py",
        "scale = jax.lax.stop_gradient(pixels / (factors.sum((1, 2)) + 1e-12))",
        "scale = pixels / (factors.sum((1, 2)) + 1e-12)",
        "tests/objectives/test_clicks.py -k normalised_focal",
    ),
    Mistake(
        "the clicks are not given to the network that is evaluated",
        "xfm/evaluators/clicks.py",
        """{**batch, "clicks": clicks, "mask": chance})""",
        """{**batch, "clicks": 0 * clicks, "mask": chance})""",
        f"{VALUES} -k number_of_clicks",
    ),
    Mistake(
        "layers taken by their number all have the checkpoint's first one",
        "xfm/train/numbered.py",
        "layer.index if layer.stacked else None) for layer",
        "0 if layer.stacked else None) for layer",
        "tests/train/test_start_layers.py -k periods",
    ),
    Mistake(
        "the finest map of a widening pyramid is narrow in a wide network",
        "xfm/parts/head/widening_pyramid.py",
        "between = max(2 * finest, D // 2)",
        "between = 2 * finest",
        "tests/configs/test_configs.py -k shards_and_paths and simpleclick-B",
    ),
)
