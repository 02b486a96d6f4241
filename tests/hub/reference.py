"""A case run by transformers: what goes in, what comes out, and the gradient. Only this module needs PyTorch."""

import inspect
import pathlib
import re
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

from tests.hub import jina_bert
from tests.hub.cases import Case

OUTPUTS = ("last_hidden_state", "pooler_output", "logits", "prediction_logits", "seq_relationship_logits", "sop_logits",
           "start_logits", "end_logits", "text_embeds", "start_top_log_probs", "end_top_log_probs",
           "cls_logits", "distillation_logits", "image_embeds", "logits_per_text", "logits_per_image",
           "reconstruction")  # fmt: skip

# of inputs that are not whole numbers there
KINDS = {"target_mapping": torch.float32, "p_mask": torch.float32, "bool_masked_pos": torch.bool}


def coarse(shape, scale: float, seed: int) -> torch.Tensor:
    """Normal numbers times scale, rounded to multiples of 1/64, which keeps the files small."""
    x = np.random.default_rng(seed).normal(size=tuple(shape)) * scale
    return torch.tensor(np.round(x * 64) / 64, dtype=torch.float32)


def shake(model, special) -> None:
    """Large irregular weights wherever there is training, so that no term is lost in the rounding of another."""
    rules = [*special, (r"(?i)norm\S*\.weight$", 1.0, 0.3), (r".", 0.0, 0.25)]
    for seed, (name, p) in enumerate(sorted(model.named_parameters())):
        _, mean, deviation = next(rule for rule in rules if re.search(rule[0], name))
        if p.requires_grad:
            p.data = mean + coarse(p.shape, deviation, seed)
    for seed, (name, statistic) in enumerate(sorted(model.named_buffers())):  # of batch norms
        if name.endswith(("running_mean", "running_var")):
            statistic.copy_(coarse(statistic.shape, 0.25, 1000 + seed) + (0.0 if name.endswith("mean") else 2.0))


def mask_of(case: Case) -> np.ndarray:
    """1 at tokens, 0 at padding; each row has another number of them."""
    mask = np.ones((case.rows, case.length), np.int32)
    for row in range(case.rows):
        count = 2 * row if case.padding != "none" else 0
        first = {"right": case.length - count, "left": 0, "middle": 3, "none": 0}[case.padding]
        mask[row, first : first + count] = 0
    return mask


def model_of(case: Case):
    cls = getattr(transformers, case.model, None) or getattr(jina_bert, case.model)
    torch.manual_seed(0)
    model = cls(cls.config_class(**case.config)).eval()
    shake(model, case.special)
    model.tie_weights()
    return model


def seen_by(config):
    """The settings of the tower that reads images, or those of the only network."""
    return getattr(config, "vision_config", config)


def pictures_of(case: Case, config) -> dict[str, np.ndarray]:
    """Images, videos or spectrograms, of another size than the model's positions are if the case says so."""
    if case.frames is not None:
        return {"input_values": coarse((case.rows, *case.frames), 1.0, 7).numpy()}
    if case.shapes:
        seen = seen_by(config)
        sides = np.array(case.shapes, np.int32)
        count, length = sides.prod(1), int(sides.prod(1).max()) + 1
        numbers = coarse((len(sides), length, seen.patch_size**2 * seen.num_channels), 1.0, 7).numpy()
        mask = (np.arange(length) < count[:, None]).astype(np.int32)
        return {"pixel_values": numbers, "pixel_attention_mask": mask, "spatial_shapes": sides}
    *time, rows, columns = case.video or case.images
    channels = seen_by(config).num_channels
    images = coarse((case.rows, *time, channels, rows, columns), 1.0, 7).numpy()
    more = {} if case.texts else {name: np.asarray(a, np.int32) for name, a in case.inputs.items()}
    return {"pixel_values": images} | more


def sides_of(case: Case, part, config) -> dict[str, bool]:
    """The keyword argument by which positions are resized, for models that have it."""
    sizes = getattr(seen_by(config), "image_size", None)
    if "interpolate_pos_encoding" not in inspect.signature(part.forward).parameters:
        return {}
    sizes = tuple(sizes) if isinstance(sizes, list | tuple) else (sizes, sizes)
    return {"interpolate_pos_encoding": (case.video or case.images)[-2:] != sizes}


def inputs_of(case: Case, config) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    mask = mask_of(case)
    ids = rng.integers(case.lowest, getattr(config, "vocab_size", 0x110000), mask.shape)
    pad = getattr(config, "pad_token_id", 0) or 0
    inputs = dict(input_ids=np.where(mask > 0, ids, pad), attention_mask=mask)
    if case.types:
        inputs["token_type_ids"] = rng.integers(0, getattr(config, "type_vocab_size", 2), mask.shape) * mask
    inputs |= {name: np.asarray(value) for name, value in case.inputs.items()}
    if case.choices:
        inputs = {k: np.stack([np.roll(a, i, axis=0) for i in range(case.choices)], axis=1) for k, a in inputs.items()}
    return {name: np.asarray(a, np.int32) for name, a in inputs.items()}


def save(case: Case, folder: pathlib.Path) -> None:
    """The case's checkpoint, as transformers writes it."""
    model_of(case).save_pretrained(folder)


def saved(model) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors of the model's file, by its names, and config.json."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        weights = load_file(f"{folder}/model.safetensors")
        # transformers 5 saves ViT-MAE's decoder in a spelling that the Hub's files do not have.
        spelled = {name.replace("decoder_encoder.layer.", "decoder_layers."): x for name, x in weights.items()}
        return spelled, (pathlib.Path(folder) / "config.json").read_text()


def gradients_of(model, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The gradients by the names of the file, in which transformers has other names and shapes than in memory.

    They are saved as a model is; tensors that get no gradient are marked by NaN and left out.
    """
    for p in model.parameters():
        p.data = torch.full_like(p, float("nan")) if p.grad is None else p.grad
    for statistic in model.buffers():
        if statistic.is_floating_point():
            statistic.fill_(float("nan"))
    found = {name: g for name, g in saved(model)[0].items() if name in weights and g.is_floating_point()}
    return {name: g for name, g in found.items() if g.numel() and not g.isnan().any()}


def run(case: Case) -> tuple[dict[str, np.ndarray], str]:
    """All arrays of a golden, and config.json."""
    model = model_of(case)
    weights, config = saved(model)
    part = getattr(model, case.part) if case.part else model
    inputs, given, real, seen = {}, {}, None, case.images or case.video or case.frames or case.shapes
    if not seen or case.texts:
        config_of_texts = getattr(part.config, "text_config", part.config)
        inputs = inputs_of(case, config_of_texts)
        given = {name: torch.tensor(a, dtype=KINDS.get(name, torch.long)) for name, a in inputs.items()}
        real = inputs["attention_mask"].reshape(-1, case.length)
    if seen:
        pictures = pictures_of(case, part.config)
        given |= {name: torch.tensor(a, dtype=KINDS.get(name)) for name, a in pictures.items()}
        given |= sides_of(case, part, part.config)
        inputs |= pictures
        if case.shapes and not case.texts:
            real = pictures["pixel_attention_mask"]
    answer = part(**given, output_hidden_states=True)
    found = {name: answer[name] for name in OUTPUTS if answer.get(name) is not None}
    found |= {f"feature_maps/{i}": x for i, x in enumerate(answer.get("feature_maps") or ())}
    towers = [answer[name] for name in ("text_model_output", "vision_model_output") if name in answer]
    hidden = [x for one in towers for x in one.hidden_states] if towers else answer.hidden_states
    maps = answer.get("reshaped_hidden_states") or ()
    if part.config.model_type == "hiera":  # whose tokens are in an order of its own, and whose maps end in channels
        maps = [x.flatten(1, -3) for x in maps]  # visible units, where some are hidden, one below the other
        hidden, maps = [x.flatten(1, 2) for x in maps], [x.permute(0, 3, 1, 2) for x in maps]

    loss, arrays = 0.0, {}
    for seed, (name, value) in enumerate(found.items()):
        cotangent = coarse(value.shape, 1.0, 100 + seed)
        if real is not None and per_token(value, real):
            cotangent *= torch.tensor(real).reshape(cotangent.shape[:2] + (1,) * (value.ndim - 2))
        loss = loss + (value * cotangent).sum()
        arrays[f"cotangent/{name}"] = cotangent
    loss.backward()
    arrays |= {f"weight/{name}": value for name, value in weights.items()}
    arrays |= {f"input/{name}": value for name, value in inputs.items()}
    arrays |= {f"output/{name}": value.detach() for name, value in found.items()}
    for i, x in enumerate(hidden):
        x = x.detach()
        if real is not None:
            x = x if seen else x[:, : case.length]  # a reference may pad within (BigBird)
            x = x * torch.tensor(real)[..., None] if per_token(x, real) else x
        arrays[f"hidden/{i}"] = x
    for i, x in enumerate(maps):
        arrays[f"map/{i}"] = x.detach()
    for name, gradient in gradients_of(model, weights).items():
        arrays[f"norm/{name}"] = gradient.double().norm()
        if gradient.ndim == 1 or re.search(case.keep, name):
            arrays[f"grad/{name}"] = gradient
    return {key: np.asarray(value) for key, value in arrays.items()}, config


def per_token(value, mask: np.ndarray) -> bool:
    """Whether an output has a number or vector for each token."""
    return value.ndim >= 2 and tuple(value.shape[:2]) == mask.shape
