"""The network that a configuration's `model` describes."""

from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model


def build_network(num_classes: int, model: Model) -> DeepLabV2:
    """DeepLab-v2 on the body `model.body`, its weights as torch leaves them."""
    if model.body == "resnet":
        return DeepLabV2(num_classes, model)
    from iapc_lib.networks.mobilenet import MobileNetDeepLab  # torchvision takes two seconds

    return MobileNetDeepLab(num_classes, model)
