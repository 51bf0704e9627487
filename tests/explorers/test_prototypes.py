"""The prototypes explorer and its page show what the library's own functions say."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from iapc_lib.classes import CAMVID_11, IGNORE, NAMES, PALETTE, colorize
from iapc_lib.config.sections import Hardware
from iapc_lib.explorers.gallery import Gallery, Picture, Snapshot, open_gallery
from iapc_lib.explorers.parts import BLUE, ORANGE, shade
from iapc_lib.explorers.prototypes.explorer import PrototypesExplorer
from iapc_lib.explorers.prototypes.facts import pixel_facts, prototype_contrast, variant_notes
from iapc_lib.explorers.prototypes.plane import MARGIN, SIZE, draw, principal_components, project
from iapc_lib.explorers.terms import loss_symbol, terms_seen
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method import losses
from iapc_lib.method.deeplab import DeepLabV2, upsample
from iapc_lib.method.objective import TERMS, iapc_losses
from iapc_lib.method.prototypes import memory_prototypes
from iapc_lib.method.settings import Fidelity, Losses, Model
from iapc_lib.networks.ready import ReadyNetwork
from iapc_lib.networks.weights import CheckpointError
from iapc_lib.rows import ROWS
from tests.conftest import noise
from tests.explorers.reading import expect_page, rows, shown, words

H, W = 64, 128
STEPS = (0, 10, 20)
WEIGHTS = Losses(importance_aware=0.3, prototype_enhanced=0.7, rare_class_pixels=100)


def small_network(seed: int) -> DeepLabV2:
    torch.manual_seed(seed)
    return DeepLabV2(11, Model(layers=(1, 1, 1, 1), base_width=8)).eval()


def a_picture(number: int) -> Picture:
    """Blocks of colours, whose labels are blocks of classes; some pixels have none."""
    blocks = np.random.default_rng(number)
    known = np.array([*CAMVID_11.train_ids, IGNORE], np.uint8)

    def labels():
        return known[blocks.integers(0, 12, (8, 8))].repeat(8, axis=0).repeat(16, axis=1)

    pixels = np.asarray(noise(H, W).rotate(90 * number))
    return Picture(f"street <{number}>.png", pixels, labels(), labels())


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    """Two pictures, and networks of eleven classes at three steps; the last step is damaged."""

    def load_snapshot(step: int) -> Snapshot:
        if step == STEPS[-1]:
            raise CheckpointError("memory_000020.safetensors: is <cut off>")
        return Snapshot(small_network(step), small_network(step + 1))

    return Gallery(
        "a test",
        [a_picture(0), a_picture(1)],
        ReadyNetwork(small_network(0), CAMVID_11, prepare_machine(Hardware(device="cpu"))),
        WEIGHTS,
        Fidelity(importance="probabilities"),
        STEPS,
        load_snapshot=load_snapshot,
    )


@pytest.fixture(scope="module")
def contrast(gallery):
    return prototype_contrast(gallery, 0, 10)


@pytest.fixture
def explorer(gallery):
    return PrototypesExplorer(gallery)


def unlabelled(gallery: Gallery) -> Gallery:
    pictures = [replace(picture, label=None) for picture in gallery.pictures]
    return replace(gallery, pictures=pictures, steps=(0,), notes=["nothing is labelled"])


# What is computed


@pytest.mark.parametrize("step", [0, 10])
def test_contrast_is_what_an_update_sees(gallery, step):
    found, picture = prototype_contrast(gallery, 0, step), gallery.pictures[0]
    student, memory = gallery.outputs(0, step)
    channels = CAMVID_11.channel_of_train_id[picture.pseudo_label].astype(np.int64)
    terms = iapc_losses(
        student, memory_prototypes(memory, (H, W)), gallery.source_logits(0)[None],
        torch.from_numpy(channels)[None], torch.ones(11), gallery.losses, gallery.fidelity,
    )  # fmt: skip
    assert found.present.sum() > 2  # or this test would see little
    assert_close(found.similarity, terms.similarity[0])
    assert_close(found.importance, terms.importance[0].numpy())
    np.testing.assert_array_equal(found.agree, terms.agreement[0])
    on_cells = gallery.source.train_ids(terms.prototype_label[0]).ravel()
    np.testing.assert_array_equal(found.nearest, on_cells[found.cells])
    np.testing.assert_array_equal(found.on_cells(found.nearest), on_cells)
    predicted = upsample(student.logits, (H, W))[0].argmax(dim=0)
    np.testing.assert_array_equal(found.predicted, gallery.source.train_ids(predicted))


def test_every_cell_has_a_middle_of_its_own(contrast):
    height, width = contrast.similarity.shape[1:]
    np.testing.assert_array_equal(contrast.on_cells(contrast.cells), np.arange(height * width))
    rows, columns = np.nonzero(contrast.cells == width + 1)
    middle = contrast.middles[width + 1]
    assert tuple(middle) == ((rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2)
    np.testing.assert_array_equal(contrast.cells_in([0, 0, H, W]), np.arange(height * width))
    assert contrast.cells_in([0, 0, 1, 1]).tolist() == [0]
    assert contrast.cells_in([*middle, *(middle + 1)]).tolist() == [width + 1]


def test_similarity_map_is_up_sampled_and_an_absent_class_has_none(contrast):
    present, absent = contrast.present.argmax(), contrast.present.argmin()
    values, low, high = contrast.similarity_map(present)
    whole = upsample(contrast.similarity[None], (H, W))[0]
    assert_close(values, whole[present].numpy())
    assert (low, high) == (values.min(), values.max())
    values, low, high = contrast.similarity_map(absent)
    assert not values.any() and (low, high) == (0, 1)


def test_losses_see_exactly_those_pixels_that_have_a_gradient(gallery, contrast):
    """`terms_seen` against the gradients of the library's losses, in every pixel."""
    student, _ = gallery.outputs(0, 10)
    log_p = upsample(student.logits, (H, W)).log_softmax(dim=1).requires_grad_()
    similarity = upsample(contrast.similarity[None], (H, W)).requires_grad_()
    labels, nearest, predicted = (
        torch.from_numpy(CAMVID_11.channel_of_train_id[train_ids].astype(np.int64))[None]
        for train_ids in (contrast.picture.pseudo_label, contrast.nearest, contrast.predicted)
    )
    importance, weight = torch.from_numpy(contrast.importance)[None], torch.ones(11)
    towards = losses.prototype_symmetric_loss(log_p, similarity, nearest, predicted)
    terms = {
        "importance_aware": losses.importance_aware_loss(log_p, labels, importance, weight),
        "prototype_symmetric_label": towards[0],
        "prototype_symmetric_similarity": towards[1],
        "prototype_enhanced": losses.prototype_enhanced_loss(log_p, labels, nearest, weight),
        "information_maximization": losses.information_maximization_loss(log_p),
    }
    assert list(terms) == list(TERMS)
    gradients = {
        name: torch.autograd.grad(term, similarity if "similarity" in name else log_p)[0][0]
        for name, term in terms.items()
    }
    pixels = [(row, column) for row in range(3, H, 8) for column in range(5, W, 7)]
    said = {name: set() for name in terms}
    for pixel in pixels:
        for term in terms_seen(pixel_facts(contrast, pixel), WEIGHTS):
            said[term.name].add(term.seen)
            assert bool(gradients[term.name][:, *pixel].any()) == term.seen, (term, pixel)
    assert said["prototype_enhanced"] == said["importance_aware"] == {True, False}


def test_terms_say_their_weights_and_why(contrast):
    agree = np.argwhere(contrast.agree)[0]
    pseudo = contrast.picture.pseudo_label
    disagree = np.argwhere(~contrast.agree & (pseudo != IGNORE))[0]
    without = np.argwhere(pseudo == IGNORE)[0]

    def of(pixel):
        facts = pixel_facts(contrast, tuple(pixel))
        return facts, {TERMS[term.name]: term for term in terms_seen(facts, WEIGHTS)}

    facts, terms = of(agree)
    assert facts.agree and facts.nearest == facts.pseudo_label
    assert [term.weight for term in terms.values()] == [0.3, 0.04, 0.04, 0.7, 2.0]
    assert terms["L_PE"].why == f"prediction towards pseudo-label: {NAMES[facts.nearest]}"
    assert f"importance {contrast.importance[tuple(agree)]:.2f}" in terms["L_IA"].why
    assert terms["L_PS2"].why.endswith(NAMES[contrast.predicted[tuple(agree)]])
    facts, terms = of(disagree)
    assert terms["L_PE"].why == (
        f"prototype ({NAMES[facts.nearest]}) and pseudo-label ({NAMES[facts.pseudo_label]}) disagree"
    )
    _, terms = of(without)
    assert terms["L_IA"].why == terms["L_PE"].why == "there is no pseudo-label"


def test_variants_of_the_method_are_named(gallery):
    assert variant_notes(gallery) == []
    other = replace(gallery, fidelity=Fidelity(prototypes="momentum", revision="2023"))
    first, second = variant_notes(other)
    assert "that move" in first and "2023" in second
    notes = words(PrototypesExplorer(other).note.value)
    assert first in notes and second in notes


# The plane


def test_pca_agrees_with_the_singular_value_decomposition(contrast):
    points = F.normalize(contrast.features.flatten(1).T, dim=1)
    center, components, explained = principal_components(points)
    _, strengths, directions = torch.linalg.svd((points - center).double(), full_matrices=False)
    for found, expected in zip(components.T, directions.float(), strict=False):
        assert_close(found.abs(), expected.abs(), rtol=1e-3, atol=1e-4)
        assert found[found.abs().argmax()] > 0
    assert explained == pytest.approx(float((strengths[:2] ** 2).sum() / (strengths**2).sum()))

    placed = project(contrast.features, 5 * contrast.prototypes[contrast.present])
    assert_close(placed.points, ((points - center) @ components).numpy())
    stars = F.normalize(contrast.prototypes[contrast.present], dim=1)
    assert_close(placed.stars, ((stars - center) @ components).numpy())
    assert f"{explained:.0%}" in placed.note


def test_drawing_has_every_dot_where_it_says(contrast):
    placed = project(contrast.features, contrast.prototypes[contrast.present])
    number = len(placed.points)
    colors = np.tile(np.array([[10, 200, 30]], np.uint8), (number, 1))
    stars = np.array([[200, 0, 0]] * len(placed.stars), np.uint8)
    selected = np.arange(number) % 2 == 0
    plain, marked = (
        draw(placed, colors, stars, ["a name"] * len(stars), chosen) for chosen in (None, selected)
    )
    assert plain.pixels.shape == (*SIZE, 3)
    for place in plain.stars:
        assert plain.pixels[tuple(place)].tolist() == [200, 0, 0]
    free = [  # dots on which nothing else lies
        place
        for place in plain.dots
        if (np.abs(plain.stars - place).max(axis=1) > 14).all()
        and (np.abs(plain.dots - place).max(axis=1) <= 7).sum() == 1
    ]
    green = [plain.pixels[tuple(place)].tolist() == [10, 200, 30] for place in free]
    assert len(free) > 3 and np.mean(green) > 0.8  # a line to a name may cross some
    # One scale for both axes, upwards as in a chart.
    far, near = placed.points[:, 0].argmax(), placed.points[:, 0].argmin()
    way, seen = placed.points[far] - placed.points[near], plain.dots[far] - plain.dots[near]
    assert seen[1] / way[0] == pytest.approx(-seen[0] / way[1], rel=0.1)
    assert plain.dots[:, 1].min() >= MARGIN - 1 and plain.dots[:, 1].max() <= SIZE[1] - MARGIN
    np.testing.assert_array_equal(plain.dots, marked.dots)
    assert (marked.pixels != plain.pixels).any()


# The widget


def test_opens_with_the_pictures_of_the_first_step(gallery, explorer):
    found = prototype_contrast(gallery, 0, 0)
    picture = gallery.pictures[0]
    np.testing.assert_array_equal(shown(explorer.image), picture.pixels)
    np.testing.assert_array_equal(shown(explorer.assignment), colorize(found.nearest))
    np.testing.assert_array_equal(shown(explorer.similarity), shade(*found.similarity_map(0)))
    colors = np.where(found.agree[..., None], BLUE, ORANGE)
    np.testing.assert_allclose(
        shown(explorer.agreement), 0.3 * picture.pixels + 0.7 * colors, atol=0.51
    )
    assert f"agree, {found.agree.mean():.1%}" in explorer.captions[3].value
    right = picture.pseudo_label == picture.label
    where = found.agree & (picture.label != IGNORE)
    assert f"There {right[where].mean():.1%} of" in words(explorer.reading.value)
    assert "PCA of all" in explorer.plane_caption.value
    assert "a test" in explorer.note.value
    assert all(one.alt for one in (*explorer.pictures, explorer.plane))


def test_another_step_shows_its_networks(gallery, explorer, contrast):
    explorer.step.value = 10
    np.testing.assert_array_equal(shown(explorer.assignment), colorize(contrast.nearest))
    explorer.shown_class.value = int(contrast.present.argmax())
    expected = shade(*contrast.similarity_map(explorer.shown_class.value))
    np.testing.assert_array_equal(shown(explorer.similarity), expected)
    assert explorer.shown_class.label in explorer.similarity.alt
    explorer.shown_class.value = int(contrast.present.argmin())
    assert "absent" in explorer.similarity.alt and "absent" in explorer.captions[2].value
    placed = project(contrast.features, contrast.prototypes[contrast.present])
    np.testing.assert_array_equal(explorer.projected.points, placed.points)


@pytest.mark.parametrize("pixel", [[0, 0], [17, 100], [63, 127]])
def test_a_picked_pixel_has_its_bars_classes_and_losses(explorer, contrast, pixel):
    explorer.step.value = 10
    explorer.agreement.picked = pixel
    assert all(one.picked == pixel for one in explorer.pictures)
    facts = pixel_facts(contrast, tuple(pixel))
    cell = contrast.cells[tuple(pixel)]
    similarity = contrast.similarity.flatten(1)[:, cell].numpy()
    present = contrast.present
    named = [NAMES[train_id] for train_id in contrast.train_ids[present]]
    values = [f"{value:.3f}" for value in similarity[present]]
    bars, _, absent = explorer.bars.value.partition("absent")
    assert rows(bars)[1:] == [list(pair) for pair in zip(named, values, strict=True)]
    assert [words(name) for name in re.findall("<b>(.*?)</b>", bars)] == [NAMES[facts.nearest]]
    for train_id in contrast.train_ids[~present]:
        assert NAMES[train_id] in absent
    assert f"row {pixel[0]}, column {pixel[1]}" in explorer.pixel.value
    agreement = "agree" if contrast.agree[tuple(pixel)] else "disagree"
    assert f"<b>{agreement}</b>" in explorer.pixel.value
    assert rows(explorer.terms.value)[1:] == [
        [words(loss_symbol(t.name)), f"{t.weight:g}", "yes" if t.seen else "no", t.why]
        for t in terms_seen(facts, WEIGHTS)
    ]
    assert explorer.plane.picked == explorer.drawing.dots[cell].tolist()


def test_a_click_among_the_dots_picks_the_nearest_ones_cell(explorer):
    dots = explorer.drawing.dots
    wanted = dots[:, 1].argmax()
    explorer.plane.picked = [int(dots[wanted, 0]), int(dots[wanted, 1]) + 9]
    picked = tuple(explorer.image.picked)
    assert explorer.contrast.cells[picked] == wanted
    assert picked == tuple(explorer.contrast.middles[wanted])
    assert explorer.plane.picked == dots[wanted].tolist()
    assert f"row {picked[0]}, column {picked[1]}" in explorer.pixel.value
    explorer.plane.picked = [int(dots[wanted, 0]), int(dots[wanted, 1]) + 8]  # the same once more
    assert explorer.plane.picked == dots[wanted].tolist()


def test_a_box_in_a_picture_marks_its_dots(gallery, explorer):
    explorer.similarity.region = [10, 20, 30, 60]
    cells = np.unique(explorer.contrast.cells[10:30, 20:60])
    np.testing.assert_array_equal(explorer.selected, cells)
    within = np.isin(explorer.contrast.cells, cells)
    pixels = gallery.pictures[0].pixels
    expected = np.where(within[..., None], pixels, pixels // 4)
    np.testing.assert_array_equal(shown(explorer.image), expected)
    assert f"{len(cells)} feature cells selected" in explorer.image.alt
    found = explorer.contrast
    named = [NAMES[train_id] for train_id in found.train_ids[found.present]]
    colors = PALETTE[found.on_cells(found.nearest)]
    stars = PALETTE[found.train_ids[found.present]]
    chosen = np.isin(np.arange(len(colors)), cells)
    drawn = draw(explorer.projected, colors, stars, named, chosen)
    np.testing.assert_array_equal(shown(explorer.plane), drawn.pixels)
    assert f"{len(cells)} of {len(colors)} cells" in explorer.selection.value
    assert f"agree in {found.agree[within].mean():.0%} of their pixels" in explorer.selection.value
    explorer.image.region = []
    assert not explorer.selected.size
    np.testing.assert_array_equal(shown(explorer.image), pixels)


def test_a_box_among_the_dots_marks_their_pixels_and_lifts_the_other_box(gallery, explorer):
    explorer.image.region = [0, 0, 20, 20]
    dots = explorer.drawing.dots
    middle = np.median(dots, axis=0).astype(int)
    explorer.plane.region = [0, 0, int(middle[0]), int(middle[1])]
    cells = np.flatnonzero((dots < middle).all(axis=1))
    assert 0 < len(cells) < len(dots) and not explorer.image.region
    np.testing.assert_array_equal(explorer.selected, cells)
    within = np.isin(explorer.contrast.cells, cells)
    pixels = gallery.pictures[0].pixels
    expected = np.where(within[..., None], pixels, pixels // 4)
    np.testing.assert_array_equal(shown(explorer.image), expected)
    # They stay selected over the steps, though the box would hold others there.
    explorer.step.value = 10
    np.testing.assert_array_equal(explorer.selected, cells)
    assert not explorer.plane.region
    explorer.image.region = [0, 0, 20, 20]
    np.testing.assert_array_equal(explorer.selected, explorer.contrast.cells_in([0, 0, 20, 20]))
    explorer.plane.region = [0, 0, *SIZE]
    explorer.clear.click()
    assert not explorer.selected.size and not explorer.plane.region
    assert "No cells are selected" in explorer.selection.value


def test_another_picture_keeps_the_box_that_is_drawn_in_it(gallery, explorer):
    explorer.image.region = [10, 20, 30, 60]
    explorer.picture.value = 1
    np.testing.assert_array_equal(explorer.selected, explorer.contrast.cells_in([10, 20, 30, 60]))
    pixels = gallery.pictures[1].pixels
    np.testing.assert_array_equal(shown(explorer.image)[12:28, 24:56], pixels[12:28, 24:56])
    explorer.plane.region = [0, 0, *SIZE]
    explorer.picture.value = 0
    assert not explorer.selected.size  # those were cells of the other picture
    nearest = prototype_contrast(gallery, 0, 0).nearest
    np.testing.assert_array_equal(shown(explorer.assignment), colorize(nearest))


@pytest.mark.parametrize("kind", ["pseudo-label", "true class"])
def test_dots_take_the_chosen_colours(gallery, explorer, kind):
    explorer.colored_by.value = kind
    picture, found = gallery.pictures[0], explorer.contrast
    labels = found.on_cells(picture.pseudo_label if kind == "pseudo-label" else picture.label)
    colors = np.where((labels == IGNORE)[:, None], 170, PALETTE[labels])
    stars = found.train_ids[found.present]
    names = [NAMES[train_id] for train_id in stars]
    drawn = draw(explorer.projected, colors, PALETTE[stars], names)
    np.testing.assert_array_equal(shown(explorer.plane), drawn.pixels)
    assert kind in explorer.plane.alt


def test_a_step_that_cannot_be_read_says_why_and_leaves_the_rest(gallery, explorer):
    explorer.image.picked = [5, 6]
    before = explorer.assignment.png, explorer.bars.value
    explorer.step.value = 20
    assert "step 20 cannot be shown" in explorer.status.value
    assert "is &lt;cut off&gt;" in explorer.status.value
    assert (explorer.assignment.png, explorer.bars.value) == before
    explorer.image.picked = [40, 90]
    found = explorer.contrast
    similarity = found.similarity.flatten(1)[found.present, found.cells[40, 90]]
    assert f"{similarity[0]:.3f}" in explorer.bars.value
    explorer.step.value = 10
    assert explorer.status.value == ""


def test_without_labels_or_snapshots_it_says_so(gallery):
    explorer = PrototypesExplorer(unlabelled(gallery))
    assert explorer.step.disabled and "nothing is labelled" in explorer.note.value
    assert "true class" not in explorer.colored_by.options
    assert "not known, no labels" in explorer.pixel.value
    assert "right" not in words(explorer.reading.value)
    explorer.image.picked = [1, 2]
    assert "row 1, column 2" in explorer.pixel.value


def test_names_of_pictures_and_classes_are_text_not_html(explorer):
    assert explorer.image.alt.startswith("street <0>.png")
    assert "<0>" not in "".join(caption.value for caption in explorer.captions)


# The static twin


def test_page_shows_what_the_explorer_shows(gallery, contrast):
    channel = int(contrast.present.argmax())
    explorer = PrototypesExplorer(
        gallery, picture=0, step=10, pixel=(17, 100), shown_class=CAMVID_11.names[channel],
        region=(10, 20, 30, 60),
    )  # fmt: skip
    expected = shade(*contrast.similarity_map(channel))
    np.testing.assert_array_equal(shown(explorer.similarity), expected)
    np.testing.assert_array_equal(explorer.selected, contrast.cells_in([10, 20, 30, 60]))
    said = expect_page(explorer, [*explorer.pictures, explorer.plane])
    for part in (explorer.pixel, explorer.bars, explorer.terms, explorer.selection):
        assert words(part.value) in said
    assert "step: 10" in said and f"similarity: {CAMVID_11.names[channel]}" in said
    # The box is drawn into the picture.
    found = explorer.assignment.marked()
    scale = found.shape[1] // W
    for row, column in ((10, 40), (29, 40), (20, 20), (20, 59)):
        cell = found[row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
        assert (cell == (0xD5, 0x5E, 0x00)).all(axis=2).any()


def test_page_without_labels_and_of_an_absent_class(gallery):
    found = prototype_contrast(gallery, 0, 0)
    name = CAMVID_11.names[int(found.present.argmin())]
    explorer = PrototypesExplorer(unlabelled(gallery), shown_class=name)
    said = expect_page(explorer, [*explorer.pictures, explorer.plane])
    assert "nothing is labelled" in said and "true class not known, no labels" in said
    assert "absent from this picture: its prototype is zero" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shown_class": "zebra"}, "similarity 'zebra': there are road, "),
        ({"step": 5}, "step 5: there are 0, 10, 20"),
        ({"region": (0, 0, H + 1, 5)}, f"no box in {H} rows and {W} columns"),
    ],
)
def test_what_there_is_not_is_refused(gallery, wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        PrototypesExplorer(gallery, **wrong)


def test_networks_that_cannot_be_read_are_named(gallery):
    with pytest.raises(CheckpointError, match="cut off"):
        PrototypesExplorer(gallery, step=20)


def test_a_row_without_memory_network_is_refused(gallery):
    with pytest.raises(ValueError, match="TENT has no memory network, hence no prototypes"):
        PrototypesExplorer(replace(gallery, row=ROWS["tent"]))


def test_opens_on_a_run_with_snapshots(tiny_run):
    gallery = open_gallery(tiny_run, number=1)
    assert gallery.steps[-1] == 6
    explorer = PrototypesExplorer(gallery)
    explorer.step.value = 6
    found = prototype_contrast(gallery, 0, 6)
    np.testing.assert_array_equal(shown(explorer.assignment), colorize(found.nearest))
    assert explorer.status.value == ""
