from xfm.spec import *  # noqa: F403
from xfm.spec import Spec, SpecError, build, freeze, schema  # noqa: F401
