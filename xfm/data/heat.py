"""The heat equation on a periodic square, solved exactly, and all pairs of an earlier and a later state.

u_t = ν Δu, whose modes exp(2πi k·x) decay as exp(-4π² ν |k|² t). All pairs of a trajectory: Herde et al. 2024
(Poseidon), section 2, whose program also has the pairs of a state with itself.
"""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Complex, Float

from xfm.data.source import Data, Row
from xfm.fields import Count, Positive
from xfm.files import fingerprint


def solution(modes: Complex[np.ndarray, "K K"], size: int, diffusion: float, time: float) -> Float[np.ndarray, "n n"]:
    """The real part of the sum of modes at a time, at the points 0, 1/n, … of both axes.

    modes: coefficients of the frequencies -k to k of both axes at time 0.
    """
    k = np.arange(len(modes)) - len(modes) // 2
    waves = np.exp(2j * np.pi * np.arange(size)[:, None] / size * k)
    decay = np.exp(-4 * np.pi**2 * diffusion * time * (k[:, None] ** 2 + k**2))
    return (waves @ (modes * decay) @ waves.T).real


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Row i: "images" [n n C] and "target/images", two states of trajectory i // pairs, and "times", from 0 to 1.

    Each trajectory starts with random modes, the lower ones the larger, and 1 as its largest number.
    """

    own: "Heat"
    split: str
    trajectories: int

    def __len__(self) -> int:
        return self.trajectories * len(self.pairs)

    @functools.cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The numbers of the earlier and the later state."""
        states = range(self.own.steps + 1)
        return [(i, j) for i in states for j in states[i:]]

    def __getitem__(self, index: int) -> Row:
        number, pair = divmod(index, len(self.pairs))
        times = [at / self.own.steps for at in self.pairs[pair]]
        before, after = (self.state(number, time).astype(np.float32) for time in times)
        return {"images": before, "target/images": after, "times": np.float32(times[1] - times[0])}

    def state(self, number: int, time: float) -> Float[np.ndarray, "n n C"]:
        """Trajectory `number` at a time from 0 to 1."""
        k = np.arange(-self.own.modes, self.own.modes + 1)
        rng = np.random.default_rng([number, self.split == "valid"])
        drawn = rng.normal(size=(self.own.channels, 2, len(k), len(k))) / (1 + k[:, None] ** 2 + k**2)

        def of_channel(modes):
            found = functools.partial(solution, modes[0] + 1j * modes[1], self.own.size, self.own.diffusion)
            return found(time) / np.abs(found(0.0)).max()

        return np.stack([of_channel(modes) for modes in drawn], axis=-1)


@dataclasses.dataclass(frozen=True)
class Heat:
    """A data source of pairs of states of the heat equation, made from its exact solution.

    size: n, points along an axis.  channels: C, independent solutions.  trajectories, validation: their numbers.
    steps: K, of the K + 1 states of a trajectory, evenly over a unit of time; these have (K + 1)(K + 2) / 2 pairs.
    modes: the highest frequency along an axis.  diffusion: ν, for a square of side 1.
    """

    size: Count = 32
    channels: Count = 1
    trajectories: Count = 1024
    validation: Count = 64
    steps: Count = 7
    modes: Count = 4
    diffusion: Positive = 0.01

    PATHS: ClassVar = {}

    def open(self, workdir: Path) -> Data:
        """Both splits; nothing is written to `workdir`."""
        train, valid = Pairs(self, "train", self.trajectories), Pairs(self, "valid", self.validation)
        facts = {"train_rows": len(train), "valid_rows": len(valid)}
        return Data(train, valid, None, None, fingerprint(["heat"], (), dataclasses.astuple(self)), (), facts)

    def row(self) -> dict:
        """Shape and dtype of each array of a row."""
        state = ((self.size, self.size, self.channels), np.float32)
        return {"images": state, "target/images": state, "times": ((), np.float32)}
