"""Training: a loop that knows an objective and nothing else.

Most users need `train(config, workdir)` and `evaluate(workdir)` only; `make_step` and `make_eval` are for a loop of
one's own.
"""

from xfm.train.loop import Result, evaluate, train
from xfm.train.preempt import Interrupted
from xfm.train.state import State
from xfm.train.step import make_eval, make_step

__all__ = ["Interrupted", "Result", "State", "evaluate", "make_eval", "make_step", "train"]
