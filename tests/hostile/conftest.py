"""A very small network on disk, once for all attacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from iapc_lib.config.presets import load_config
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model
from iapc_lib.networks.checkpoints import save_network
from tests.conftest import PRESETS

SMALL = Model(layers=(1, 1, 1, 1), base_width=4, classifier_dilations=(1,))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    config = load_config(PRESETS / "mini_gta5.yaml", 0).model_copy(update={"model": SMALL})
    save_network(path, DeepLabV2(19, SMALL).initialize(3), config)
    return path
