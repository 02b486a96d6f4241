"""Whole training steps of vision transformers at the published size, compiled for TPUs that are not here.

    python benchmarks/steps.py                   # all models and chips, with libtpu installed
    python benchmarks/steps.py --cases "ViT.*v5e"   # only cases whose names begin with a match of this regex

Forward, backward, clipping and AdamW on eight images of 224 x 224, in bfloat16, with the layers of a stage scanned:

    compile    processor seconds to trace and compile;  kernels: calls of Pallas kernels in the program
    operations of the products of a step;  ratio: of these to three times those of a forward pass, counted by timm
    arguments, temporary    bytes of parameters, state and batch, and of all that is kept in between
    wholes    arrays with an axis of queries and one of keys of a whole image; Swin's windows make none
"""

import argparse
import json
import re
import subprocess
import sys
import time
from importlib import metadata

from common import ROOT, record, versions

sys.path.append(str(ROOT))


def measured(model: str, chip: str) -> dict:
    """The figures of one model and chip."""
    from tests.kernels import test_tpu_vision as steps

    start = time.process_time()
    program = steps.compiled(model, chip)
    seconds = time.process_time() - start
    memory, operations = program.memory_analysis(), steps.total(steps.jaxpr(model))
    return dict(
        compile=round(seconds),
        kernels=program.as_text().count('custom_call_target="tpu_custom_call"'),
        operations=operations,
        ratio=round(operations / (3 * 2e9 * steps.GMACS[model] * steps.ROWS), 3),
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        wholes=len(steps.wholes(steps.arrays_of(program))) if "Swin" in model else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default="", help="only cases whose names begin with a match of this regex")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return print(json.dumps(measured(*options.one)))
    results = {}
    for model in ("ViT-L/16", "Swin-B"):
        for chip in ("v5e", "v5p", "v6e"):
            if re.match(options.cases, f"{model} {chip}"):
                child = [sys.executable, __file__, "--one", model, chip]
                out = subprocess.run(child, capture_output=True, text=True, check=True).stdout
                results[f"{model} {chip}"] = found = json.loads(out.splitlines()[-1])
                print(f"{model} {chip}  " + "  ".join(f"{what} {number}" for what, number in found.items()), flush=True)
    record("steps", __doc__.strip(), results, versions() | {"libtpu": metadata.version("libtpu")})


if __name__ == "__main__":
    main()
