"""The published weights of EfficientNet-Lite2 -> those of the package's network, in fp16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, rsqrt

_EPSILON = 1e-3
"""Of batch normalisation, as in the published network."""


def convert(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold batch normalisation into the convolutions, and name what is left as the package does."""
    made = {}
    for name, convolution, normalisation in _layers(published):
        scale = published[f"{normalisation}.weight"] * rsqrt(
            published[f"{normalisation}.running_var"] + _EPSILON
        )
        mean = published[f"{normalisation}.running_mean"]
        made[f"{name}.weight"] = published[f"{convolution}.weight"] * scale[:, None, None, None]
        made[f"{name}.bias"] = published[f"{normalisation}.bias"] - mean * scale
    made["classify.weight"], made["classify.bias"] = published["_fc.weight"], published["_fc.bias"]
    return {name: values.half().contiguous() for name, values in made.items()}


def _layers(published: Mapping[str, Tensor]) -> Iterator[tuple[str, str, str]]:
    """The package's name, the published convolution and its normalisation, layer by layer."""
    yield "stem", "_conv_stem", "_bn0"
    number = 0
    while f"_blocks.{number}._project_conv.weight" in published:
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if f"{theirs}._expand_conv.weight" in published:
            yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
        yield f"{ours}.around", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
        yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"
        number += 1
    yield "head", "_conv_head", "_bn1"
