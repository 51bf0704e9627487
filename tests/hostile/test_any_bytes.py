"""Any bytes in the place of any file: what it holds, or an error that names it."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from iapc_lib.config.errors import ConfigError
from iapc_lib.config.yaml_text import parse_value, read_yaml
from iapc_lib.data.images import read_image, read_label, read_train_ids
from iapc_lib.data.layouts import DataError, Record
from iapc_lib.data.miniature.write import encode_png16
from iapc_lib.files import FileError, read_json
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.networks.checkpoints import load_network
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.runs.records import ExecutedNotebook, Results, StageRecord
from tests.conftest import PRESETS, noise
from tests.hostile.conftest import SMALL

often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LABEL = np.random.default_rng(0).integers(0, 34, (24, 40), dtype=np.uint8)


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def state_dict() -> bytes:
    buffer = io.BytesIO()
    torch.save(DeepLabV2(19, SMALL).initialize(0).state_dict(), buffer)
    return buffer.getvalue()


RECORD = json.dumps({"inputs": {"a": 1}, "facts": {}, "provenance": {"code": {}}}).encode()
SCORES = json.dumps({"scores": {"iapc": {"miou": 1.0, "iou": {"road": None}}}}).encode()
READERS = {
    "preset.yaml": (read_yaml, (PRESETS / "mini_gta5.yaml").read_bytes(), ConfigError),
    "stage.json": (lambda path: read_json(path, StageRecord), RECORD, FileError),
    "results.json": (lambda path: read_json(path, Results), SCORES, FileError),
    "run.ipynb": (
        lambda path: read_json(path, ExecutedNotebook),
        b'{"cells": [{"outputs": [{"output_type": "error"}]}]}',
        FileError,
    ),
    **{
        f"image.{suffix}": (read_image, encoded(noise(24, 40), kind), DataError)
        for suffix, kind in (
            ("png", "PNG"),
            ("jpg", "JPEG"),
            ("bmp", "BMP"),
            ("tif", "TIFF"),
            ("webp", "WEBP"),
        )
    },
    **{
        f"{layout}.png": (
            lambda path, layout=layout: read_label(Record("x", path, path, layout)),
            encode_png16(np.stack([LABEL.astype(np.uint16) % 23] * 3, axis=2))
            if layout == "synthia"
            else encoded(Image.fromarray(LABEL), "PNG"),
            DataError,
        )
        for layout in ("gta5", "synthia", "cityscapes", "camvid", "urbansyn")
    },
    "pseudo.png": (read_train_ids, encoded(Image.fromarray(LABEL % 19), "PNG"), DataError),
    "weights.pth": (load_network, state_dict(), CheckpointError),
}


def read_or_named(name: str, content: bytes) -> None:
    read, _, error = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read(path)
        except error as refusal:
            assert name in str(refusal)


@pytest.mark.parametrize("name", READERS)
@given(content=st.binary(max_size=400))
@often
def test_any_bytes(name: str, content: bytes):
    read_or_named(name, content)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@often
def test_any_damage_to_a_sound_file(name: str, data):
    """A slice anywhere is replaced by other bytes, more or fewer."""
    whole = READERS[name][1]
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, min(len(whole), begin + 40)))
    read_or_named(name, whole[:begin] + data.draw(st.binary(max_size=40)) + whole[end:])


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_that_is_typed(text: str):
    try:
        parse_value(text)
    except ValueError as error:
        assert str(error)
