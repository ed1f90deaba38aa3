"""Dropout without a random draw: the uniform numbers arrive from outside, like everything random."""

import torch
from torch import Tensor, nn

from saddle.game.ranges import COUNT, FRACTION, require


class Dropout(nn.Module):
    """Zero each unit with probability p and scale the others by 1/(1 − p), in training mode.

    A unit is dropped where the buffer ``uniform`` (N, num_uniform) is below p. The game binds the
    buffer together with the parameters, so the layer is a pure function and can be lifted over an
    ensemble. Within one loss the i-th real and the i-th generated sample share their mask.

    Source: Srivastava et al. 2014, JMLR 15.
    """

    uniform: Tensor

    def __init__(self, p: float, num_features: int) -> None:
        super().__init__()
        require("dropout p", p, FRACTION, "0 turns it off.")
        require("num_features", num_features, COUNT, "Give the number of units.")
        self.p = p
        self.num_uniform = num_features
        self.register_buffer("uniform", torch.ones(num_features), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        return inputs * (self.uniform >= self.p) / (1.0 - self.p)
