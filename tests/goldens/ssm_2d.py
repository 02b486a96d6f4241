"""Makes the golden of the state space of two dimensions: the authors' layer with random weights.

    git clone https://github.com/ethanbar11/ssm_2d FOLDER
    oracle/bin/pip install einops pandas sympy
    oracle/bin/python -m tests.goldens.ssm_2d FOLDER

Their program asks for a GPU; here every array stays where it is. Inputs and outputs are [B h w C].
"""

import os
import sys
import tempfile
import types

import torch

from tests.goldens.make import coarse, save

SIDE, WIDTH = 5, 8


def on_the_cpu():
    """Lets a program that moves arrays to a GPU run without one."""
    move = torch.Tensor.to
    torch.Tensor.cuda = lambda self: self
    torch.Tensor.to = lambda self, *where, **how: self if where[:1] == ("cuda",) else move(self, *where, **how)


def main(folder):
    on_the_cpu()
    sys.path.insert(0, folder)
    from models.mega.two_d_ssm import TwoDimensionalSSM

    arrays = {"input/x": coarse((2, SIDE, SIDE, WIDTH), 1.0, 1)}
    with tempfile.TemporaryDirectory() as cache:
        os.chdir(cache)  # where it keeps its tables of powers
        for directions, systems in ((2, 1), (4, 2)):
            args = types.SimpleNamespace(
                ndim=3, n_ssm=systems, normalize=False, complex_ssm=False, directions_amount=directions,
                use_residual_inside_ssm=True,
            )  # fmt: skip
            layer, name = TwoDimensionalSSM(WIDTH, SIDE**2, args=args), f"directions_{directions}"
            for seed, (_, p) in enumerate(sorted(layer.named_parameters())):
                p.data = coarse(p.shape, 0.7, seed)
            arrays |= {f"weight/{name}/{key}": value.detach() for key, value in layer.named_parameters()}
            arrays[f"output/{name}/kernel"] = layer.kernel().detach()
            y = layer(arrays["input/x"].permute(0, 3, 1, 2))
            arrays[f"output/{name}/y"] = y.permute(0, 2, 3, 1).detach()
    save("ssm_2d", arrays, dict(states=3, systems={2: 2, 4: 8}))


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
