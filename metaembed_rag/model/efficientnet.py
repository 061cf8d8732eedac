"""EfficientNet-Lite2: a small convolutional network that says which of 1,000 things a photo shows.

The architecture of EfficientNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) as published
for small devices: no squeeze-and-excitation, ReLU6 as the only activation, a stem and a head that
do not grow with the network. Batch normalisation is folded into the convolutions, so a layer is a
convolution with a bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 260
"""Pixels of the square picture that the network reads."""
CLASSES = 1_000
_STEM, _HEAD = 32, 1_280
_STAGES = (
    # repeats, kernel, stride, expansion, channels out
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
_MEAN, _DEVIATION = 127.0, 128.0


class _Convolution(nn.Conv2d):
    """A convolution whose output has ceil(input / stride) pixels, the odd one padded last."""

    def __init__(self, given: int, made: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(given, made, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(pictures, channels in, h, w) -> (pictures, channels out, h / stride, w / stride)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class _Block(nn.Module):
    """Widen, look around in each channel alone, narrow; added to the input where both fit."""

    def __init__(self, given: int, made: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = given * expansion
        self.expand = _Convolution(given, wide, 1) if expansion > 1 else None
        self.around = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, made, 1)
        self.is_residual = stride == 1 and given == made

    def forward(self, x: Tensor) -> Tensor:
        """(pictures, channels in, h, w) -> (pictures, channels out, h / stride, w / stride)."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        made: Tensor = self.project(F.relu6(self.around(wide)))
        return x + made if self.is_residual else made


class EfficientNetLite2(nn.Module):
    """Pictures -> logits of ImageNet's 1,000 classes, in the usual order of their synsets."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        blocks: list[_Block] = []
        channels = _STEM
        for repeats, kernel, stride, expansion, made in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(_Block(channels, made, kernel, step, expansion))
                channels = made
        self.blocks = nn.Sequential(*blocks)
        self.head = _Convolution(channels, _HEAD, 1)
        self.classify = nn.Linear(_HEAD, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 of shape (pictures, 3, side, side), as of :func:`pixels` -> (pictures, 1000)."""
        x = self.blocks(F.relu6(self.stem(pixels)))
        x = F.relu6(self.head(x)).mean(dim=(2, 3))  # (pictures, 1280)
        logits: Tensor = self.classify(x)
        return logits


def pixels(image: Image.Image) -> Tensor:
    """A picture as the network reads it: float32 of shape (3, 260, 260), about -1 to 1.

    The whole picture is squeezed into the square: what stands at its edge is a part of what it
    shows.

    Args:
        image: RGB, of any size.
    """
    square = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    values: NDArray[Any] = np.asarray(square, dtype=np.float32)
    return torch.from_numpy((values - _MEAN) / _DEVIATION).permute(2, 0, 1)
