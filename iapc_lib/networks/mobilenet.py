"""A small body for laptops: MobileNetV2 in the place of the ResNet, with the same head.

Sandler et al., CVPR 2018, as torchvision has it, dilated to an output stride of 8. What the method
asks of a network is logits and features, so nothing else changes.
"""

import itertools

from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from iapc_lib.method.deeplab import Classifier, DeepLabV2, Prediction
from iapc_lib.method.settings import Model

BLOCKS = 18
"""Blocks of the body; torchvision's last one, for classifying whole images, is left out."""
FEATURES = 14
"""Blocks before the stage that plays layer 4's part: their output are the features."""


class MobileNetDeepLab(DeepLabV2):
    """DeepLab-v2 on MobileNetV2.

    Args:
        num_classes: channels of the logits.
        model: gives the head's dilations; `layers` and `base_width` are the ResNet's.
    """

    feature_channels = 96

    def __init__(self, num_classes: int, model: Model):
        nn.Module.__init__(self)
        self.model = model
        self.features = mobilenet_v2().features[:BLOCKS]
        dilation = 1
        # From here on strides would leave less than an eighth of the image's size.
        for block in self.features[7:]:
            (conv,) = (m for m in block.modules() if getattr(m, "kernel_size", None) == (3, 3))
            # The block whose stride is undone reads the grid before it, those after it every other.
            conv.dilation = conv.padding = (dilation, dilation)
            dilation *= conv.stride[0]
            conv.stride = (1, 1)
        self.layer6 = Classifier(320, num_classes, model.classifier_dilations)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What has weights, by readable names, in the order in which an image passes it."""
        ends = (0, 3, 6, 10, 13, 17)
        blocks = {
            f"blocks {first + 1}-{last}": self.features[first + 1 : last + 1]
            for first, last in itertools.pairwise(ends)
        }
        return {"stem": self.features[0], **blocks, "head": self.layer6}

    @staticmethod
    def feature_size(side: int) -> int:
        """Cells of the feature map along a side of so many pixels."""
        return -(-side // 8)

    def forward(self, x: Tensor) -> Prediction:
        """Network input (N, 3, H, W) -> logits (N, K, h, w) and features (N, 96, h, w)."""
        features = self.features[:FEATURES](x)
        return Prediction(self.layer6(self.features[FEATURES:](features)), features)
