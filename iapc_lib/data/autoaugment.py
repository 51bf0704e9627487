"""The photometric part of AutoAugment's ImageNet policy, as published (method.md, 3)."""

import random

from PIL import Image, ImageEnhance, ImageOps

# Ten magnitudes per operation, from index 0 to 9. Sharpness, colour and contrast enhance by
# 1 +- m; solarize inverts above a threshold; posterize keeps so many bits.
_ENHANCE = [m / 10 for m in range(10)]

MAGNITUDES = {
    "color": _ENHANCE,
    "contrast": _ENHANCE,
    "sharpness": _ENHANCE,
    "solarize": [256 - 256 * i / 9 for i in range(10)],
    "posterize": [8, 8, 7, 7, 6, 6, 5, 5, 4, 4],
}


# (operation, magnitude index, probability) twice; the photometric part of AutoAugment's ImageNet
# policy, in the published order. Its repetitions matter: one entry is drawn uniformly.
_SOLARIZE_AUTOCONTRAST = (("solarize", 5, 0.6), ("autocontrast", 5, 0.6))

_EQUALIZE_EQUALIZE = (("equalize", 8, 0.8), ("equalize", 3, 0.6))

_EQUALIZE_SOLARIZE = (("equalize", 7, 0.4), ("solarize", 4, 0.2))

_INVERT_EQUALIZE = (("invert", 4, 0.6), ("equalize", 8, 1.0))

_COLOR_CONTRAST = (("color", 4, 0.6), ("contrast", 8, 1.0))

AUTOAUGMENT_POLICY = (
    _SOLARIZE_AUTOCONTRAST,
    _EQUALIZE_EQUALIZE,
    (("posterize", 7, 0.6), ("posterize", 6, 0.6)),
    _EQUALIZE_SOLARIZE,
    (("solarize", 3, 0.6), ("equalize", 7, 0.6)),
    (("posterize", 5, 0.8), ("equalize", 2, 1.0)),
    (("equalize", 8, 0.6), ("posterize", 6, 0.4)),
    (("equalize", 7, 0.0), ("equalize", 8, 0.8)),
    _INVERT_EQUALIZE,
    _COLOR_CONTRAST,
    (("color", 8, 0.8), ("solarize", 7, 0.8)),
    (("sharpness", 7, 0.4), ("invert", 8, 0.6)),
    (("color", 0, 0.4), ("equalize", 3, 0.6)),
    _EQUALIZE_SOLARIZE,
    _SOLARIZE_AUTOCONTRAST,
    _INVERT_EQUALIZE,
    _COLOR_CONTRAST,
    _EQUALIZE_EQUALIZE,
)

_ENHANCERS = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}


def apply_operation(
    image: Image.Image, operation: str, magnitude_index: int, rng: random.Random
) -> Image.Image:
    """One photometric operation of AutoAugment; the enhancers draw their sign from `rng`."""
    if operation in _ENHANCERS:
        change = MAGNITUDES[operation][magnitude_index] * rng.choice([-1, 1])
        return _ENHANCERS[operation](image).enhance(1 + change)
    if operation in MAGNITUDES:
        return getattr(ImageOps, operation)(image, MAGNITUDES[operation][magnitude_index])
    return getattr(ImageOps, operation)(image)


def autoaugment(image: Image.Image, rng: random.Random) -> Image.Image:
    """One random sub-policy on the whole image; labels stay valid, nothing moves."""
    sub_policy = AUTOAUGMENT_POLICY[rng.randint(0, len(AUTOAUGMENT_POLICY) - 1)]
    for operation, magnitude_index, probability in sub_policy:
        if rng.random() < probability:
            image = apply_operation(image, operation, magnitude_index, rng)
    return image
