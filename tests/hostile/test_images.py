"""Files that stand where photographs and labels belong."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iapc_lib
from iapc_lib.data.layouts import DataError
from iapc_lib.data.miniature import write_world
from iapc_lib.explorers import open_gallery
from tests.conftest import PRESETS, noise
from tests.hostile.surfaces import iapc, put, refused

FORMATS = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}


def encoded(kind: str, image: Image.Image | None = None) -> bytes:
    buffer = io.BytesIO()
    (image or noise(24, 40)).save(buffer, kind)
    return buffer.getvalue()


def png_of_size(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """The header of a PNG, and next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def broken_images() -> dict[str, bytes]:
    """Name of a file -> its bytes; none of them is a photograph."""
    found = {}
    for suffix, kind in FORMATS.items():
        whole = encoded(kind)
        for share in (0.02, 0.3):
            found[f"cut at {share}.{suffix}"] = whole[: max(4, int(share * len(whole)))]
        found[f"begins late.{suffix}"] = whole[5:]
        found[f"zeroed.{suffix}"] = bytes(len(whole))
        found[f"text.{suffix}"] = b"no image\n" * 50
        found[f"page.{suffix}"] = b"<!DOCTYPE html><html>not found</html>"
        found[f"pointer.{suffix}"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        found[f"empty.{suffix}"] = b""
        found[f"postscript.{suffix}"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
        found[f"pdf.{suffix}"] = b"%PDF-1.4\n"
        found[f"gif.{suffix}"] = encoded("GIF")
        found[f"ppm.{suffix}"] = encoded("PPM")
        found[f"icon.{suffix}"] = encoded("ICO", noise(16, 16))
    for side in (0, 20_000, 100_000, 2**31 - 1):
        found[f"header of {side}.png"] = png_of_size(side, side)
    found["odd depth.png"] = png_of_size(9, 9, depth=7)
    found["odd colour.png"] = png_of_size(9, 9, colour=5)
    found["no pixels.png"] = png_of_size(9, 9)[:41] + png_of_size(9, 9)[-12:]
    found["floats.tif"] = encoded("TIFF", Image.fromarray(np.ones((9, 9), np.float32)))
    return found


BROKEN = broken_images()


@pytest.fixture(scope="module")
def predicted(checkpoint, tmp_path_factory) -> tuple[int, str, Path]:
    """One `predict` over a sound photograph among all broken ones: status, output, label maps."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, content in BROKEN.items():
        put(folder / name, content)
    noise(24, 40).save(folder / "sound.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    out = tmp_path_factory.mktemp("out") / "out"
    return *iapc("predict", checkpoint, folder, "--out", out, "--short-side", 16), out


def test_what_is_sound_is_predicted_and_the_rest_makes_status_1(predicted):
    status, said, out = predicted
    assert status == 1, said
    assert [path.name for path in out.rglob("labels/**/*.png")] == ["sound.png"]


@pytest.mark.parametrize("name", [*BROKEN, "pipe.png", "endless.png", "lost.png", "folder.png"])
def test_a_file_that_is_no_photograph_is_skipped_by_name(name: str, predicted):
    lines = [line for line in predicted[1].splitlines() if name in line]
    assert len(lines) == 1 and "skipped" in lines[0], lines


ARRAYS = {
    "floats of 0..255": np.full((9, 9, 3), 200.0),
    "normalised": np.full((9, 9, 3), -1.5, np.float32),
    "NaN": np.full((9, 9, 3), np.nan),
    "infinite": np.full((9, 9, 3), np.inf),
    "16 bits": np.full((9, 9, 3), 40_000, np.uint16),
    "negative": np.full((9, 9), -1),
    "four channels": np.zeros((9, 9, 4), np.uint8),
    "a batch": np.zeros((2, 9, 9, 3), np.uint8),
    "a line": np.zeros(9, np.uint8),
    "nothing": np.zeros((0, 9, 3), np.uint8),
    "switches": np.zeros((9, 9, 3), bool),
    "complex": np.zeros((9, 9, 3), complex),
    "texts": np.full((9, 9, 3), "a"),
    "objects": np.full((9, 9, 3), None),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_that_is_no_image_is_refused(kind: str, segmenter):
    with pytest.raises(ValueError, match=r"array|numbers|within"):
        segmenter.predict(ARRAYS[kind])


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return iapc_lib.load(checkpoint, device="cpu")


@pytest.mark.parametrize("name", list(BROKEN)[::7])
def test_the_facade_names_the_file(name: str, segmenter, tmp_path):
    with pytest.raises(DataError) as error:
        segmenter.predict(put(tmp_path / name, BROKEN[name]))
    assert name in str(error.value)


LABELS = {
    "empty": b"",
    "text": b"no label",
    "cut": encoded("PNG", Image.fromarray(np.zeros((64, 128), np.uint8)))[:60],
    "a photograph": encoded("PNG"),
    "a JPEG": encoded("JPEG", Image.fromarray(np.zeros((64, 128), np.uint8))),
    "another size": encoded("PNG", Image.fromarray(np.zeros((64, 126), np.uint8))),
    "16 bits": encoded("PNG", Image.fromarray(np.zeros((64, 128), np.uint16))),
    "unknown ids": encoded("PNG", Image.fromarray(np.full((64, 128), 200, np.uint8))),
    "train ids": encoded("PNG", Image.fromarray(np.tile(np.uint8([0, 18, 255, 7]), (64, 32)))),
    "a giant": png_of_size(100_000, 100_000, colour=0),
    "no pixels": png_of_size(128, 64, colour=0)[:41],
}


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "cityscapes"
    write_world("cityscapes", root, counts={"train": 2, "val": 2}, size=(64, 128), progress=False)
    return root


def options_of(checkpoint: Path, root: Path) -> list[str]:
    source = [f"source.{key}=null" for key in ("layout", "root", "train", "val")]
    changes = [*source, f"source.checkpoint={checkpoint}", f"target.root={root}"]
    changes += ["model.layers=[1,1,1,1]", "model.base_width=4", "model.classifier_dilations=[1]"]
    return [word for change in changes for word in ("--set", change)]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_a_label_that_is_none_is_refused_by_name(command, kind, checkpoint, cityscapes, tmp_path):
    label = sorted(cityscapes.glob("gtFine/val/*/*.png"))[1]
    label.write_bytes(LABELS[kind])
    options = options_of(checkpoint, cityscapes)
    preset = PRESETS / "gta5.yaml"
    if command == "check":
        refused(label.name, "check", preset, "--out", tmp_path / "run", *options)
    else:
        refused(label.name, "evaluate", checkpoint, preset, *options)


@pytest.mark.parametrize(
    ("ids", "said"),
    [([0], "pixel of a"), ([0, 18, 7, 13], "looks like train ids")],
    ids=["nothing evaluated", "train ids without 255"],
)
@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_labels_that_are_none_together_are_refused(
    command, ids, said, checkpoint, cityscapes, tmp_path
):
    root = shutil.copytree(cityscapes, tmp_path / "cityscapes")
    for label in root.glob("gtFine/*/*/*.png"):
        label.write_bytes(encoded("PNG", Image.fromarray(np.resize(np.uint8(ids), (64, 128)))))
    options = options_of(checkpoint, root)
    if command == "check":
        refused(said, "check", PRESETS / "gta5.yaml", "--out", tmp_path / "run", *options)
    else:
        refused(said, "evaluate", checkpoint, PRESETS / "gta5.yaml", *options)


def test_a_network_is_judged_by_the_classes_that_are_labelled(checkpoint, tmp_path):
    for split in ("train", "test"):
        for folder, kind in ((split, None), (f"{split}annot", np.arange(12, dtype=np.uint8))):
            image = noise(24, 40) if kind is None else Image.fromarray(np.resize(kind, (24, 40)))
            path = tmp_path / "camvid" / folder / "0001TP_000000.png"
            put(path, encoded("PNG", image))
    changes = [f"target.root={tmp_path / 'camvid'}", "evaluation.image_size=[24,40]"]
    options = [word for change in changes for word in ("--set", change)]
    command = ("evaluate", checkpoint, PRESETS / "camvid_dusk.yaml", *options)
    status, said = iapc(*command)
    lines = dict(line.rsplit(None, 1) for line in said.splitlines() if line.strip())
    assert status == 0 and "mIoU over 11" in lines and "mIoU over 19" not in lines, said
    assert lines["terrain"] == lines["train"] == "-" and lines["road"] != "-"
    refused("target.sequences", *command, "--set", "target.sequences=[0001XX]")


def test_an_explorer_leaves_out_what_cannot_be_read_and_says_so(checkpoint, tmp_path):
    put(tmp_path / "a.jpg", b"no image")
    with pytest.raises(DataError, match=r"a\.jpg"):
        open_gallery(checkpoint, tmp_path)
    noise(24, 40).save(tmp_path / "b.png")
    gallery = open_gallery(checkpoint, tmp_path)
    assert [picture.name for picture in gallery.pictures] == ["b.png"]
    assert any("a.jpg" in note for note in gallery.notes)
