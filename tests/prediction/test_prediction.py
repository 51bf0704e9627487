"""Any photographs: prediction, its command line, and damaged folders."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import iapc_lib
from iapc_lib.classes import ALL_19, CITYSCAPES_TO_TRAIN, IGNORE
from iapc_lib.cli import app
from iapc_lib.config.errors import ConfigError
from iapc_lib.config.sections import Hardware
from iapc_lib.data.images import read_image, read_train_ids, resize_image, to_tensor
from iapc_lib.data.layouts import DataError, folder_records, image_paths
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method.deeplab import DeepLabV2
from iapc_lib.method.settings import Model
from iapc_lib.networks.checkpoints import save_network
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.prediction import image as prediction
from iapc_lib.prediction.image import PredictionSettings, predict_image
from iapc_lib.runs.folder import read_run
from iapc_lib.runs.records import RunFolderError
from tests.conftest import PRESETS, noise, tiny_overrides

MACHINE = prepare_machine(Hardware(device="cpu"))
SMALL = Model(layers=(1, 1, 1, 1), base_width=4, classifier_dilations=(1,))


@pytest.fixture
def ready() -> ReadyNetwork:
    return ReadyNetwork(DeepLabV2(19, SMALL).initialize(3).eval(), ALL_19, MACHINE)


@pytest.fixture
def checkpoint(tmp_path, tiny_run, ready):
    path = tmp_path / "net.safetensors"
    save_network(path, ready.network, tiny_run.config.model_copy(update={"model": SMALL}))
    return path


def iapc(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


# --- one image


def test_a_prediction_is_what_evaluation_scores(ready):
    image = noise(60, 100)
    made = predict_image(ready, image, PredictionSettings(short_side=96))
    inputs = to_tensor(resize_image(image, (96, 160)))[None]
    wanted = ready.predict(inputs, (60, 100))[0].numpy()
    np.testing.assert_array_equal(made.labels, wanted)
    assert (made.confidence > 1 / 19 - 1e-6).all() and (made.confidence <= 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (700, 1), (33, 47)])
@pytest.mark.parametrize(
    "settings", [PredictionSettings(None), PredictionSettings(40, (1.0, 0.75), flip=True)]
)
def test_labels_have_the_images_size(ready, size, settings):
    made = predict_image(ready, noise(*size), settings)
    assert made.labels.shape == made.confidence.shape == size


def test_windows_agree_with_one_forward_away_from_their_borders(ready, monkeypatch):
    images = torch.randint(0, 256, (1, 3, 200, 400), dtype=torch.uint8)
    whole = ready.forward(images).logits
    monkeypatch.setattr(prediction, "ONE_FORWARD", 100)
    monkeypatch.setattr(prediction, "WINDOW", 193)
    monkeypatch.setattr(prediction, "OVERLAP", 96)
    windowed = prediction.windowed_logits(ready, images)
    assert windowed.shape == whole.shape
    same = torch.isclose(windowed, whole, rtol=1e-4, atol=1e-4).all(dim=1)[0]
    # A cell in the first window only, further from its border than the network sees.
    assert same[:, :7].all() and not same.all()


@pytest.mark.parametrize("length", [5, 1032, 1033, 1040, 1801, 4001, 7777])
def test_windows_cover_a_side_on_the_common_grid(length):
    corners = prediction._corners(length)
    assert all(corner % 8 == 0 for corner in corners) and length - corners[-1] <= 1032
    assert all(b - a <= prediction.WINDOW - 200 for a, b in zip(corners, corners[1:], strict=False))


def test_large_label_maps_are_decided_in_strips_alike(ready, monkeypatch):
    image = noise(70, 110)
    settings = PredictionSettings(64)
    once = predict_image(ready, image, settings)
    monkeypatch.setattr(prediction, "AT_ONCE", 4000)
    strips = predict_image(ready, image, settings)
    assert (once.labels == strips.labels).mean() > 0.999
    np.testing.assert_allclose(once.confidence, strips.confidence, atol=1e-5)


# --- reading anything


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "LA", "1"])
def test_images_of_all_kinds_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    noise(24, 40, "RGB").convert(mode).save(path)
    image = read_image(path)
    assert image.mode == "RGB" and image.size == (40, 24)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    values = np.linspace(0, 65535, 24 * 40).astype(np.uint16).reshape(24, 40)
    Image.fromarray(values).save(tmp_path / "a.png")
    grey = np.asarray(read_image(tmp_path / "a.png"))[..., 0]
    np.testing.assert_array_equal(grey, np.rint(values / 257))


def test_exif_orientation_is_applied(tmp_path):
    image = noise(24, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg").size == (24, 40)


def test_folders_are_searched_and_odd_ones_named(tmp_path):
    for name in ("b/ä ö.JPG", "a.png", ".hidden.png", "note.txt", "c.png/x.jpeg", "d.png/note"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    paths, problems = image_paths(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        "a.png",
        "b/ä ö.JPG",
        "c.png/x.jpeg",
    ]
    assert problems == [f"{tmp_path / 'd.png'}: is a folder that holds no image"]
    (tmp_path / "a.png.png").write_text("")
    assert len(folder_records(tmp_path)) == 4
    (tmp_path / "e.jpg").write_text("")
    (tmp_path / "e.jpg.png").write_text("")
    with pytest.raises(DataError, match=r"e.jpg.*: shares its label's name, e.jpg.png"):
        folder_records(tmp_path)
    with pytest.raises(DataError, match="holds no image"):
        folder_records(tmp_path / "d.png")


# --- the command


def test_predict_does_what_it_can_and_names_the_rest(tmp_path, checkpoint, photographs):
    folder, reasons = photographs
    out = tmp_path / "out"
    command = ("predict", checkpoint, folder, "--out", out, "--short-side", 32, "--confidence")
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    result = iapc(*command)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("iapc: ")]
    assert len(lines) == len(reasons)
    assert f"12 images predicted, {len(reasons)} skipped" in result.stdout
    for name, reason in reasons.items():
        assert sum(f"{folder}/{name}: " in line and reason in line for line in lines) == 1
    labels = sorted((out / "labels").rglob("*.png"))
    assert len(labels) == 12
    for kind in ("colors", "overlays", "confidence"):
        assert [p.relative_to(out / kind) for p in sorted((out / kind).rglob("*.png"))] == [
            p.relative_to(out / "labels") for p in labels
        ]
    assert read_train_ids(out / "labels" / "näh" / "3.jpg.png").shape == (27, 40)
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before

    # Going on: only what is missing or older than its image is made again.
    times = {path: path.stat().st_mtime_ns for path in labels}
    labels[0].unlink()
    assert iapc(*command).exit_code == 1
    assert {p for p in labels if p.stat().st_mtime_ns != times[p]} == {labels[0]}


def test_predict_refuses_what_would_mix_or_overwrite(tmp_path, checkpoint):
    folder = tmp_path / "images"
    folder.mkdir()
    noise(24, 40).save(folder / "a.png")
    for out in (folder, folder / "out", tmp_path):
        result = iapc("predict", checkpoint, folder, "--out", out)
        assert result.exit_code == 2 and "overlaps the images" in result.stderr
    good = ("predict", checkpoint, folder, "--out", tmp_path / "out", "--short-side", 32)
    assert iapc(*good, "--ids", "cityscapes").exit_code == 0
    ids = np.array(Image.open(tmp_path / "out" / "labels" / "a.png"))
    assert (CITYSCAPES_TO_TRAIN[ids] != IGNORE).all()
    result = iapc(*good)
    assert result.exit_code == 2 and "of another checkpoint or other settings" in result.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    result = iapc("predict", checkpoint, folder, "--out", tmp_path / "mine")
    assert result.exit_code == 2 and "is not empty" in result.stderr
    for arguments, reason in (
        ((checkpoint, tmp_path / "none"), "no such folder"),
        ((tmp_path / "none.safetensors", folder), "no such checkpoint"),
    ):
        result = iapc("predict", *arguments, "--out", tmp_path / "new")
        assert result.exit_code == 2 and reason in result.stderr
    result = iapc("predict", checkpoint, folder, "--out", tmp_path / "new", "--scales", "1,x")
    assert result.exit_code == 2 and "--scales 1,x" in result.stderr


def test_evaluate_prints_the_table_in_three_forms(tmp_path, data_folder, checkpoint):
    from iapc_lib.pipeline import stages
    from iapc_lib.runs.folder import open_run

    overrides = tiny_overrides(data_folder)
    stages.data(open_run(PRESETS / "mini_gta5.yaml", tmp_path / "scratch", 0, overrides))
    command = ["evaluate", checkpoint, PRESETS / "mini_gta5.yaml"]
    for key, value in overrides.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    text = iapc(*command)
    assert text.exit_code == 0 and "mIoU over 13" in text.stdout and "bicycle" in text.stdout
    scores = json.loads(iapc(*command, "--format", "json").stdout)
    assert scores["images"] == 2 and set(scores["iou"]) == set(ALL_19.names)
    assert r"\toprule" in iapc(*command, "--format", "latex").stdout
    refused = iapc(*command, "--split", "train")
    assert refused.exit_code == 2 and "labelled splits of this target are: val" in refused.stderr


# --- the facade


def test_facade_predicts_paths_images_arrays_and_tensors_alike(tmp_path, checkpoint):
    noise(40, 56).save(tmp_path / "a.png")
    model = iapc_lib.load(checkpoint, device="cpu")
    image = Image.open(tmp_path / "a.png")
    array = np.asarray(image)
    wanted = model.predict(tmp_path / "a.png").labels
    assert wanted.shape == (40, 56)
    for form in (str(tmp_path / "a.png"), image, array, to_tensor(image), to_tensor(image) / 255):
        np.testing.assert_array_equal(model.predict(form).labels, wanted)
    assert model.colored(wanted).size == (56, 40)
    for wrong in (
        array.astype(float),
        array[..., :2],
        to_tensor(image)[:1],
        to_tensor(image)[None],
    ):
        with pytest.raises(ValueError, match="must be"):
            model.predict(wrong)


def test_facade_adapts_to_a_folder(tmp_path, checkpoint):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(3):
        noise(64, 48).save(folder / f"{number}.jpg")  # upright
    model = iapc_lib.load(checkpoint, device="cpu")
    model = type(model)(**{**vars(model), "settings": PredictionSettings(32)})
    few = {"adaptation__steps": 2, "adaptation__batch_size": 2, "hardware__workers": 0}
    adapted = model.adapt(folder, tmp_path / "run", **few)
    assert read_run(tmp_path / "run").config.evaluation.image_size == (43, 32)
    assert adapted.predict(folder / "0.jpg").labels.shape == (64, 48)
    ours, theirs = (m.ready.network.state_dict() for m in (model, adapted))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="no such folder"):
        model.adapt(folder, tmp_path / "run2", **few)


def test_facade_refuses_what_would_go_wrong_in_silence(tmp_path, checkpoint, monkeypatch):
    with pytest.raises(ConfigError, match="'device' = 'gpu'.* must be 'auto', 'cpu' or 'cuda'"):
        iapc_lib.load(checkpoint, device="gpu")
    model = iapc_lib.load(checkpoint, device="cpu")
    for wrong in ([[0, 200]], [[0.5]], [0, 1]):
        with pytest.raises(ValueError, match="train ids are"):
            model.colored(np.array(wrong))
    noise(64, 48).save(tmp_path / "0.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match="lies in the folder of the images"):
        model.adapt(".", "mine")  # its pictures would be adapted to
    assert not (tmp_path / "mine").exists()
