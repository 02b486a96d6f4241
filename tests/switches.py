"""XLA's switches by which tests compile quickly: they compile far more than they compute.

Without optimisation compiling takes 60 % of the time, without the fusion emitters half of that again, and in one piece
two thirds of what remains. jaxlib 0.11.1 and later lack the second of these switches, libtpu the last two, and each
aborts at one that it does not know.
"""

from importlib.metadata import version
from importlib.util import find_spec

UNOPTIMISED = "--xla_backend_optimization_level=0"
DEVICES = "--xla_force_host_platform_device_count=8"
PLAIN = []
if find_spec("libtpu") is None:
    PLAIN += ["--xla_cpu_parallel_codegen_split_count=1"]
    if tuple(map(int, version("jaxlib").split(".")[:3])) < (0, 11, 1):
        PLAIN += ["--xla_cpu_use_fusion_emitters=false"]
