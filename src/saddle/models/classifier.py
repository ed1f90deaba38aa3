"""The small convolutional classifier whose features judge digit images.

Its weights ship in ``saddle/features/weights`` and are made by ``scripts/train_classifier.py``.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from saddle.game.ranges import COUNT, require

FEATURE_DIM = 64


class Classified(NamedTuple):
    """What one pass gives: features (N, 64), standardized, and logits (N, num_classes)."""

    features: Tensor
    logits: Tensor


class DigitClassifier(nn.Module):
    """Four 3×3 convolutions with BatchNorm and ReLU (16, 32, 64, 64 channels; the second and the
    fourth halve the image), the maximum over positions, one linear layer.

    The features given out are standardized by constants measured once, after training: their mean is
    moved to 0, for raw ones all point into the positive orthant where every cosine is near 1 (a Vendi
    score of 3 for all the digits there are), and one scale makes their mean variance 1. Until
    ``standardize`` is called they are raw.

    Works for any image size from 4×4 up. BatchNorm keeps running statistics: call ``eval()`` before
    judging. Input: float images (N, 1, H, W) in [−1, 1].
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        require("num_classes", num_classes, COUNT, "There are 10 digits.")
        blocks: list[nn.Module] = []
        channels = 1
        for width, stride in ((16, 1), (32, 2), (64, 1), (FEATURE_DIM, 2)):
            blocks += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(FEATURE_DIM, num_classes)
        self.register_buffer("centre", torch.zeros(FEATURE_DIM))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> Classified:
        raw = self.body(images).amax(dim=(2, 3))  # not the mean: most of a digit's image is background
        return Classified((raw - self.centre) / self.scale, self.head(raw))

    @torch.no_grad()
    def standardize(self, images: Tensor) -> None:
        """Set centre and scale so that the features of these images have mean 0 and mean variance 1."""
        given = self(images).features
        raw = given * self.scale + self.centre
        self.centre = raw.mean(0)
        self.scale = raw.var(0).mean().sqrt()
