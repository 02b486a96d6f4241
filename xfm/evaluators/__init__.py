"""What is measured at the end of a run and by `xfm eval`, without training on it: scores, and examples to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from xfm.errors import XfmError
from xfm.evaluators.base import Evaluator
from xfm.evaluators.classes import Classes
from xfm.evaluators.clicks import NumberOfClicks
from xfm.evaluators.continuations import Continuations
from xfm.evaluators.features import LinearProbe, NearestRows
from xfm.evaluators.filled_words import MaskedWords, PermutedWords
from xfm.evaluators.image_quality import ImageQuality
from xfm.evaluators.masks import Masks
from xfm.evaluators.nearest import Nearest
from xfm.evaluators.numbers import Numbers
from xfm.evaluators.pictures import Reconstructions
from xfm.evaluators.replaced_words import ReplacedWords
from xfm.evaluators.spans import Spans
from xfm.evaluators.tags import Tags
from xfm.evaluators.zero_shot import ZeroShot
from xfm.spec import SpecError, build, lookup, plain, schema

EVALUATORS = {
    "classes": Classes,
    "numbers": Numbers,
    "tags": Tags,
    "spans": Spans,
    "nearest": Nearest,
    "masks": Masks,
    "number_of_clicks": NumberOfClicks,
    "masked_words": MaskedWords,
    "permuted_words": PermutedWords,
    "replaced_words": ReplacedWords,
    "continuations": Continuations,
    "linear_probe": LinearProbe,
    "nearest_rows": NearestRows,
    "reconstructions": Reconstructions,
    "zero_shot": ZeroShot,
    "image_quality": ImageQuality,
}


def build_evaluators(specs: Sequence[Mapping[str, Any]], batch: int) -> list[Evaluator]:
    """The evaluators of `config.evals`, in order; `batch` rows at once where a spec does not say how many.

    Raises XfmError if `specs` is not a list, and for a kind or a field that does not exist.
    """
    specs = plain(specs)
    if not isinstance(specs, list):
        raise XfmError(f"config.evals is a list of evaluators, such as [{{'kind': 'classes'}}], not {specs!r}")
    try:
        return [build(EVALUATORS, {**_rows(spec, batch), **spec} if isinstance(spec, dict) else spec) for spec in specs]
    except SpecError as error:
        raise XfmError(f"config.evals: {error}") from None


def _rows(spec: Mapping[str, Any], batch: int) -> dict[str, int]:
    """The value of the field `batch`, for an evaluator that has this field."""
    cls = lookup(EVALUATORS, spec.get("kind"))
    return {"batch": batch} if cls is not None and "batch" in schema(cls) else {}
