"""Class tables, readers and their refusals, views, pseudo-label files."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iapc_lib.classes import (
    ALL_19,
    CITYSCAPES_ID_OF_TRAIN,
    CITYSCAPES_TO_TRAIN,
    GTA5_TO_TRAIN,
    IGNORE,
    NAMES,
    SYNTHIA_13,
    SYNTHIA_16,
    SYNTHIA_TO_TRAIN,
)
from iapc_lib.config.sections import Views
from iapc_lib.data.images import (
    ImageDataset,
    read_example,
    read_image,
    read_label,
    read_train_ids,
    truth_of,
    write_train_ids,
)
from iapc_lib.data.layouts import DataError, Record, domain_root, source_records, target_records
from iapc_lib.data.miniature.write import encode_png16
from iapc_lib.data.order import draw_order
from iapc_lib.data.source_views import SourceDataset
from iapc_lib.data.target_views import ViewsDataset, target_views
from iapc_lib.pipeline import stages


def test_id_tables_follow_the_data_sets():
    cityscapes = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
    cityscapes |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    synthia = {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 1: 10, 10: 11, 17: 12}
    synthia |= {8: 13, 19: 15, 12: 17, 11: 18}
    for table, expected in (
        (CITYSCAPES_TO_TRAIN, cityscapes),
        (GTA5_TO_TRAIN, cityscapes),
        (SYNTHIA_TO_TRAIN, synthia),
    ):
        assert {i: int(table[i]) for i in range(256) if table[i] < 19} == expected
        assert table[255] == 255 and table[0] == 255 and table[100] == 254


def test_class_sets_are_the_published_ones():
    assert SYNTHIA_16.train_ids == (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
    assert SYNTHIA_13.train_ids == (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
    channels = SYNTHIA_16.channel_of_train_id[np.arange(19)]
    assert channels[[9, 14, 16]].tolist() == [255] * 3
    assert SYNTHIA_16.train_id_of_channel[channels[18]] == 18 and NAMES[18] == "bicycle"


@pytest.fixture
def pair(tmp_path) -> Record:
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(np.full((6, 8), 7, np.uint8)).save(tmp_path / "label.png")
    return Record("image.png", tmp_path / "image.png", tmp_path / "label.png", "cityscapes")


def test_label_refusals_name_the_file_and_the_reason(pair):
    assert (read_label(pair) == 0).all()
    with pytest.raises(DataError, match=r"label.png: the label is 8x6, its image image.png 10x6"):
        read_label(pair, (6, 10))
    Image.fromarray(np.full((6, 8), 77, np.uint8)).save(pair.label)
    with pytest.raises(DataError, match=r"label.png: unknown label ids \[77\]; .* 33"):
        read_label(pair)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(pair.label)
    with pytest.raises(DataError, match="mode RGB"):
        read_label(pair)
    pair.label.unlink()
    with pytest.raises(DataError, match="label.png: no such file"):
        read_label(pair)


def test_examples_show_what_is_known_of_the_truth(pair):
    terrain = CITYSCAPES_ID_OF_TRAIN[NAMES.index("terrain")]
    Image.fromarray(np.array([[7] * 4 + [terrain] * 4] * 6, np.uint8)).save(pair.label)
    image, truth = read_example(pair, SYNTHIA_16)  # which has no terrain
    assert image.size == (8, 6)
    assert (truth[:, :4] == 0).all() and (truth[:, 4:] == IGNORE).all()
    _, truth = read_example(replace(pair, label=None), SYNTHIA_16)
    assert truth.shape == (6, 8) and (truth == IGNORE).all()
    records = [pair, replace(pair, label=None)]
    known, unknown = (truth_of(item) for item in ImageDataset(records, (3, 4), SYNTHIA_16))
    assert known.dtype == unknown.dtype and known.shape == unknown.shape == (6, 8)
    assert (known[:, :4] == 0).all() and (unknown == IGNORE).all()


def test_synthia_labels_must_be_the_16_bit_files(tmp_path):
    ids = np.zeros((4, 5, 3), np.uint16)
    ids[..., 0], ids[..., 1] = 8, 40_000
    label = tmp_path / "label.png"
    label.write_bytes(encode_png16(ids))
    record = Record("x", tmp_path / "image.png", label, "synthia")
    assert (read_label(record) == 13).all()
    ids[..., 0] = 300
    label.write_bytes(encode_png16(ids))
    with pytest.raises(DataError, match=r"unknown label ids \[300\]"):
        read_label(record)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(label)
    with pytest.raises(DataError, match="16-bit PNGs with three channels"):
        read_label(record)


def test_unreadable_images_are_named(pair):
    whole = pair.image.read_bytes()
    pair.image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="image.png: cannot be read as an image"):
        read_image(pair.image)
    pair.image.unlink()
    with pytest.raises(DataError, match="image.png: no such file"):
        read_image(pair.image)


def test_train_ids_survive_the_palette_png(tmp_path):
    labels = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    write_train_ids(tmp_path / "labels.png", labels)
    assert np.array_equal(read_train_ids(tmp_path / "labels.png"), labels)


@given(st.integers(0, 1000), st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_every_image_is_seen_once_before_any_is_seen_again(seed, length):
    epoch = [draw_order(seed, "views", length * 3 + i, length) for i in range(length)]
    assert sorted(epoch) == list(range(length))


def test_views_show_the_same_place_and_labels_follow_the_pixels():
    columns = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    image = Image.fromarray(np.repeat(columns[..., None], 3, axis=2))
    views = Views(
        image_size=(100, 200),
        crop_size=(40, 60),
        clean_size=(100, 200),
        autoaugment=False,
        min_classes=0,
    )
    for seed in range(20):
        made = target_views(image, columns, views, random.Random(seed))
        # The picture's grey value is its label, up to the interpolation of a smooth ramp.
        for picture, label in ((made.rescaled, made.label), (made.plain, made.plain_label)):
            assert picture.shape == (40, 60, 3) and label.shape == (40, 60)
            assert np.abs(picture[..., 0].astype(int) - label).max() <= 2
        assert np.abs(made.plain[:, 30, 0].mean() - made.rescaled[:, 30, 0].mean()) < 45
        assert np.array_equal(made.rescaled, made.augmented)


def test_readers_give_records_in_order_and_no_labels_for_training(tiny_run):
    stages.data(tiny_run)
    train, val = source_records(tiny_run.config)
    assert [r.name for r in train] == [f"{i:05d}.png" for i in range(1, 7)]
    assert [r.name for r in val] == ["00007.png", "00008.png"]
    assert not (domain_root(tiny_run.config, "target") / "gtFine" / "train").exists()
    assert all(r.label is None for r in target_records(tiny_run.config, "train", labels=False))
    item = ImageDataset(target_records(tiny_run.config, "val", labels=True), (64, 128), ALL_19)[0]
    assert item["image"].shape == (3, 64, 128) and item["label"].shape == (64, 128)


def test_training_data_is_a_function_of_seed_and_position(tiny_run, tmp_path):
    stages.data(tiny_run)
    config = tiny_run.config
    train, _ = source_records(config)
    first, again = (SourceDataset(train, config.source_training, ALL_19, 0) for _ in range(2))
    other = SourceDataset(train, config.source_training, ALL_19, 1)
    torch.manual_seed(5)
    assert all(torch.equal(first[3][key], again[3][key]) for key in ("image", "label"))
    assert not torch.equal(first[3]["image"], other[3]["image"])

    records = target_records(config, "train", labels=False)
    write_train_ids(tmp_path / "labels.png", np.zeros((64, 128), np.uint8))
    labels = [tmp_path / "labels.png"] * len(records)
    views = [ViewsDataset(records, labels, config.views, ALL_19, 0, 10)[7] for _ in range(2)]
    assert all(torch.equal(views[0][key], views[1][key]) for key in views[0])
    assert set(views[0]) == {"plain", "rescaled", "augmented", "clean", "label"}


def test_notebooks_see_the_first_batch_of_the_adaptation(tiny_run):
    config = tiny_run.config
    records, labels = stages.pseudo_labels(tiny_run)
    views = ViewsDataset(records, labels, config.views, config.class_set, config.seed, 2)
    batch = stages.first_batch(tiny_run)
    assert len(batch["label"]) == config.adaptation.batch_size == 2
    for name, tensor in batch.items():
        assert torch.equal(tensor, torch.stack([views[0][name], views[1][name]]))
    assert torch.equal(stages.first_batch(tiny_run, 1)["plain"], batch["plain"][:1])


def test_a_target_without_dev_has_no_labelled_records_to_look_at(tiny_run):
    assert [record.label is None for record in stages.dev_records(tiny_run)] == [False, False]
    target = tiny_run.config.target.model_copy(update={"dev": None})
    tiny_run.config = tiny_run.config.model_copy(update={"target": target})
    assert stages.dev_records(tiny_run) == []
    assert all(record.label is None for record in stages.monitored_records(tiny_run))


def test_too_few_images_are_refused(tiny_run):
    stages.data(tiny_run)
    mini = tiny_run.config.miniature.model_copy(update={"source_train": 7})
    bad = tiny_run.config.model_copy(update={"miniature": mini})
    with pytest.raises(DataError, match="no such folder"):
        source_records(bad)
