"""The network that a configuration's `model` describes."""

from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model
from iapc_lib.networks.mobilenet import MobileNetDeepLab


def build_network(num_classes: int, model: Model) -> DeepLabV2:
    """DeepLab-v2 on the body `model.body`, its weights as torch leaves them."""
    return {"resnet": DeepLabV2, "mobilenet_v2": MobileNetDeepLab}[model.body](num_classes, model)
