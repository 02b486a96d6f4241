"""One loss per file. The trainer trains an objective and knows nothing else."""

from collections.abc import Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.objectives.base import Objective
from xfm.objectives.causal_lm import CausalLM
from xfm.objectives.classification import Classification
from xfm.objectives.clicks import Clicks
from xfm.objectives.corrupted_images import CorruptedImages
from xfm.objectives.curriculum import Curriculum
from xfm.objectives.distillation import Distillation
from xfm.objectives.hard_patches import HardPatches
from xfm.objectives.image_to_image import ImageToImage
from xfm.objectives.instance_discrimination import InstanceDiscrimination
from xfm.objectives.joint_embedding import JointEmbedding
from xfm.objectives.local_masked_images import LocalMaskedImages
from xfm.objectives.mask_align import MaskAlign
from xfm.objectives.masked_images import MaskedImages
from xfm.objectives.masked_lm import MaskedLM
from xfm.objectives.permutation_lm import PermutationLM
from xfm.objectives.position_prediction import PositionPrediction
from xfm.objectives.regression import Regression
from xfm.objectives.replaced_token import ReplacedToken
from xfm.objectives.retrieval import Retrieval
from xfm.objectives.segmentation import Segmentation
from xfm.objectives.self_distillation import SelfDistillation
from xfm.objectives.similarity import Similarity
from xfm.objectives.span import Span
from xfm.objectives.stored_distillation import StoredDistillation
from xfm.objectives.supervised_masked_images import SupervisedMaskedImages
from xfm.objectives.tagging import Tagging
from xfm.spec import build as build_from
from xfm.spec import lookup, plain
from xfm.transforms import network
from xfm.transforms.redraw import check_rules
from xfm.vocabulary import Vocabulary

OBJECTIVES = {
    "curriculum": Curriculum,
    "masked_lm": MaskedLM,
    "replaced_token": ReplacedToken,
    "causal_lm": CausalLM,
    "permutation_lm": PermutationLM,
    "classification": Classification,
    "regression": Regression,
    "tagging": Tagging,
    "span": Span,
    "segmentation": Segmentation,
    "clicks": Clicks,
    "retrieval": Retrieval,
    "similarity": Similarity,
    "masked_images": MaskedImages,
    "corrupted_images": CorruptedImages,
    "image_to_image": ImageToImage,
    "position_prediction": PositionPrediction,
    "supervised_masked_images": SupervisedMaskedImages,
    "mask_align": MaskAlign,
    "local_masked_images": LocalMaskedImages,
    "hard_patches": HardPatches,
    "joint_embedding": JointEmbedding,
    "self_distillation": SelfDistillation,
    "instance_discrimination": InstanceDiscrimination,
    "distillation": Distillation,
    "stored_distillation": StoredDistillation,
}


def evaluated_keys(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of config.objective that only evaluation reads."""
    return tuple(f"objective.{name}" for name in getattr(lookup(OBJECTIVES, spec.get("kind")), "evaluated", ()))


def build_objective(config: Mapping[str, Any], vocabulary: Vocabulary | None) -> Objective:
    """The objective `config.objective` over `config.model` with `config.transforms`; `config.init` redraws parameters.

    Raises XfmError if the tokeniser has more ids than the embedding has rows.
    """
    config = plain(config)
    model = network(config)
    rows = getattr(model, "vocab", None)
    if vocabulary is not None and rows is not None and vocabulary.size > rows:
        raise XfmError(
            f"the tokeniser has {vocabulary.size} ids, and the model's embedding has {rows} rows; "
            f"set config.model.embed.vocab (and that of heads) to {vocabulary.size} or more"
        )
    return build_from(
        OBJECTIVES,
        config["objective"],
        model=model,
        vocabulary=vocabulary,
        initial=check_rules(config.get("init", [])),
    )
