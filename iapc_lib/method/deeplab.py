"""DeepLab-v2: a dilated ResNet body and a classifier head of parallel dilated convolutions.

Parameter names are torchvision's for the body and the published checkpoints' for the head
(`layer6.conv2d_list.*`). What differs from torchvision's ResNet, after method.md, 1: the stride
sits on the first 1x1 convolution, the max-pool rounds up, and dilation acts in every block of
layers 3 and 4.
"""

import functools
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iapc_lib.method.settings import Model

# ImageNet mean of the published (caffe style) network, in R, G, B; there is no division.
PIXEL_MEAN = (122.67891434, 116.66876762, 104.00698793)


def network_input(images: Tensor) -> Tensor:
    """uint8 RGB images (N, 3, H, W) -> float32 (N, 3, H, W) as the network wants them.

    That is B, G, R minus the mean, in units of grey levels (method.md, 3).
    """
    return (images.float() - _pixel_mean(images.device)).flip(-3)


@functools.cache
def _pixel_mean(device: torch.device) -> Tensor:
    return torch.tensor(PIXEL_MEAN, device=device).view(3, 1, 1)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear up-sampling of (N, C, h, w) to `size` = (H, W), with aligned corners."""
    if maps.is_cuda:  # where torch's own is either not repeatable backwards or forty times slower
        return upsample_by_products(maps, size)
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def upsample_by_products(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """`upsample` as two products of matrices, one a direction: the same but for rounding."""
    rows, columns = (
        _interpolation(small, large, maps.dtype, maps.device)
        for small, large in zip(maps.shape[2:], size, strict=True)
    )
    return rows @ (maps @ columns.t())


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later calls, which may want a gradient
def _interpolation(small: int, large: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(large, small): what each place of the larger side takes from those of the smaller one."""
    unit = torch.eye(small, dtype=dtype)[None]
    weights = F.interpolate(unit, large, mode="linear", align_corners=True)[0]
    return weights.t().contiguous().to(device)


class Prediction(NamedTuple):
    """What the network returns, both at feature resolution."""

    logits: Tensor
    """(N, K, h, w) class scores."""
    features: Tensor
    """(N, D, h, w) output of layer 3, the features of prototype contrast."""


class Bottleneck(nn.Module):
    """1x1, dilated 3x3, 1x1 convolutions and a shortcut; the stride is on the first 1x1."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, shortcut: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if shortcut:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, planes * self.expansion, 1, stride, bias=False),
                nn.BatchNorm2d(planes * self.expansion),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Classifier(nn.Module):
    """Parallel 3x3 convolutions of different dilation; their outputs are summed."""

    def __init__(self, channels: int, num_classes: int, dilations: tuple[int, ...]):
        super().__init__()
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=d, dilation=d) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum(conv(x) for conv in self.conv2d_list)


class DeepLabV2(nn.Module):
    """DeepLab-v2 with output stride 8 (Chen et al. 2017; caffe style, method.md, 1).

    Args:
        num_classes: channels of the logits.
        model: size of body and head; the default is the published ResNet-101.
    """

    def __init__(self, num_classes: int = 19, model: Model = Model()):  # noqa: B008
        super().__init__()
        self.model = model
        width = model.base_width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        channels = width
        for number, (blocks, stride, dilation) in enumerate(
            zip(model.layers, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
        ):
            planes = width * 2 ** (number - 1)
            layer = [Bottleneck(channels, planes, stride, dilation, shortcut=True)]
            channels = planes * Bottleneck.expansion
            layer += [Bottleneck(channels, planes, 1, dilation, False) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layer))
        self.layer6 = Classifier(channels, num_classes, model.classifier_dilations)

    @property
    def feature_channels(self) -> int:
        """D, the channels of the features."""
        return self.layer3[-1].bn3.num_features

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What has weights, by readable names, in the order in which an image passes it."""
        layers = {f"layer {n}": self.get_submodule(f"layer{n}") for n in (1, 2, 3, 4)}
        return {"stem": self.conv1, **layers, "head": self.layer6}

    @staticmethod
    def feature_size(side: int) -> int:
        """Cells of the feature map along a side of so many pixels (method.md, 1)."""
        half = (side - 1) // 2 + 1
        quarter = -(-(half - 1) // 2) + 1
        return (quarter - 1) // 2 + 1

    def forward(self, x: Tensor) -> Prediction:
        """Network input (N, 3, H, W) -> logits (N, K, h, w) and features (N, D, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = self.layer3(self.layer2(self.layer1(x)))
        return Prediction(self.layer6(self.layer4(features)), features)

    def initialize(self, seed: int) -> Self:
        """Random weights, a function of `seed` alone: He for the body, N(0, 0.01) for the head."""
        generator = torch.Generator().manual_seed(seed)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                if name.startswith("layer6"):
                    nn.init.normal_(module.weight, 0, 0.01, generator=generator)
                    nn.init.zeros_(module.bias)
                else:
                    nn.init.kaiming_normal_(module.weight, generator=generator)
        return self

    def freeze_batchnorm_affine(self) -> Self:
        """Stops the gradient of every BatchNorm weight and bias, as adaptation wants it."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        return self
