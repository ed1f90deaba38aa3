"""Layers that let the discriminator compare the samples of a batch with each other."""

import torch
from torch import Tensor, nn

from saddle.game.ranges import COUNT, require


class MinibatchStandardDeviation(nn.Module):
    """Append one feature map: the batch's standard deviation, averaged over features and places.

    (N, C, H, W) -> (N, C + 1, H, W), (N, C) -> (N, C + 1). A collapsed batch shows at once. The deviation
    is √(variance + 10⁻⁸), biased, over the whole batch. Source: Karras et al. 2018, arXiv:1710.10196, sec. 3.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        deviation = (inputs.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([inputs, deviation.expand(inputs.shape[0], 1, *inputs.shape[2:])], 1)


class MinibatchDiscrimination(nn.Module):
    """Append for each sample how close it is to the others: o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁), M_i = x_iT.

    (N, C) -> (N, C + num_kernels). Source: Salimans et al. 2016, arXiv:1606.03498, sec. 3.2 (authors' code
    for CIFAR-10: 100 kernels of 5 dimensions).
    """

    def __init__(self, num_features: int, num_kernels: int = 50, kernel_dim: int = 5) -> None:
        super().__init__()
        require("num_features", num_features, COUNT, "Give the number of features.")
        require("num_kernels", num_kernels, COUNT, "50 is usual.")
        require("kernel_dim", kernel_dim, COUNT, "5 is usual.")
        self.project = nn.Linear(num_features, num_kernels * kernel_dim, bias=False)
        self.shape = (num_kernels, kernel_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        projected = self.project(inputs).view(-1, *self.shape)  # (N, B, K)
        distances = (projected[:, None] - projected[None]).abs().sum(3)  # (N, N, B)
        closeness = (-distances).exp().sum(1) - 1.0  # a sample is not compared with itself
        return torch.cat([inputs, closeness], 1)
