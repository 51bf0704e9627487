"""The prototypes explorer and its static twin show what the library's own functions say."""

from __future__ import annotations

import io
import sys
import types
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.testing import assert_close

from iapc_lib.classes import CAMVID_11, IGNORE, NAMES, PALETTE, colorize
from iapc_lib.config.sections import Hardware
from iapc_lib.explorers.gallery import Gallery, Moment, Picture, open_gallery
from iapc_lib.explorers.parts import BLUE, ORANGE, blend, class_bars, shade
from iapc_lib.explorers.prototypes import plane as projection
from iapc_lib.explorers.prototypes.explorer import PrototypesExplorer
from iapc_lib.explorers.prototypes.facts import pixel_facts, prototype_contrast, variant_notes
from iapc_lib.explorers.prototypes.plane import MARGIN, SIZE, draw, principal_components, project
from iapc_lib.explorers.prototypes.words import right_shares
from iapc_lib.explorers.terms import terms_seen
from iapc_lib.figures.explore_prototypes import prototypes_view
from iapc_lib.machine.device import prepare_machine
from iapc_lib.method import losses
from iapc_lib.method.deeplab import DeepLabV2, upsample
from iapc_lib.method.objective import iapc_losses
from iapc_lib.method.settings import Fidelity, Losses, Model
from iapc_lib.networks.weights import CheckpointError
from tests.conftest import noise

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

    def load_moment(step: int) -> Moment:
        if step == STEPS[-1]:
            raise CheckpointError("memory_000020.safetensors: is <cut off>")
        return Moment(step, small_network(step), small_network(step + 1))

    return Gallery(
        "a test",
        [a_picture(0), a_picture(1)],
        CAMVID_11,
        prepare_machine(Hardware(device="cpu")),
        small_network(0),
        WEIGHTS,
        Fidelity(importance="probabilities"),
        STEPS,
        load_moment=load_moment,
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


def shown(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


# What is computed


@pytest.mark.parametrize("step", [0, 10])
def test_contrast_is_what_an_update_sees(gallery, step):
    found, picture = prototype_contrast(gallery, 0, step), gallery.pictures[0]
    student, memory = gallery.outputs(0, step)
    channels = CAMVID_11.channel_of_train_id[picture.pseudo_label].astype(np.int64)
    terms = iapc_losses(
        student, memory, gallery.source_logits(0)[None], torch.from_numpy(channels)[None],
        torch.ones(11), gallery.losses, gallery.fidelity,
    )  # fmt: skip
    assert found.present.sum() > 2  # or this test would see little
    assert_close(found.similarity, terms.similarity[0])
    assert_close(found.importance, terms.importance[0].numpy())
    np.testing.assert_array_equal(found.agree, terms.agreement[0])
    on_cells = gallery.train_ids(terms.prototype_label[0]).ravel()
    np.testing.assert_array_equal(found.nearest, on_cells[found.cells])
    np.testing.assert_array_equal(found.on_cells(found.nearest), on_cells)
    predicted = upsample(student.logits, (H, W))[0].argmax(dim=0)
    np.testing.assert_array_equal(found.predicted, gallery.train_ids(predicted))


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
        "L_IA": losses.importance_aware_loss(log_p, labels, importance, weight),
        "L_PS1": towards[0],
        "L_PS2": towards[1],
        "L_PE": losses.prototype_enhanced_loss(log_p, labels, nearest, weight),
        "L_IM": losses.information_maximization_loss(log_p),
    }
    gradients = {
        name: torch.autograd.grad(term, similarity if name == "L_PS2" else log_p)[0][0]
        for name, term in terms.items()
    }
    pixels = [(row, column) for row in range(3, H, 8) for column in range(5, W, 7)]
    said = {name: set() for name in terms}
    for pixel in pixels:
        for term in terms_seen(pixel_facts(contrast, pixel), WEIGHTS):
            said[term.name].add(term.seen)
            assert bool(gradients[term.name][:, *pixel].any()) == term.seen, (term, pixel)
    assert said["L_PE"] == said["L_IA"] == {True, False}


def test_terms_say_their_weights_and_why(contrast):
    agree = np.argwhere(contrast.agree)[0]
    pseudo = contrast.picture.pseudo_label
    disagree = np.argwhere(~contrast.agree & (pseudo != IGNORE))[0]
    without = np.argwhere(pseudo == IGNORE)[0]

    def of(pixel):
        facts = pixel_facts(contrast, tuple(pixel))
        return facts, {term.name: term for term in terms_seen(facts, WEIGHTS)}

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
    notes = [child.value for child in PrototypesExplorer(other).children[1:3]]
    assert "that move" in notes[0] and "scrambled" in notes[1]


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


def test_a_projection_that_is_not_installed_is_named_with_its_package(contrast, monkeypatch):
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    assert projection.available_methods() == ["PCA"]
    with pytest.raises(ValueError, match=r"t-SNE: not among PCA.* pip install scikit-learn"):
        project(contrast.features, contrast.prototypes, "t-SNE")


def test_t_sne_places_some_cells_and_all_prototypes(contrast, monkeypatch):
    class TSNE:
        def __init__(self, perplexity, **_):
            self.perplexity = perplexity

        def fit_transform(self, vectors):
            assert self.perplexity < len(vectors)
            return vectors[:, :2]

    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.manifold", types.SimpleNamespace(TSNE=TSNE))
    monkeypatch.setattr(projection, "available_methods", lambda: ["PCA", "t-SNE"])
    monkeypatch.setattr(projection, "MOST_CELLS", 20)
    placed = project(contrast.features, contrast.prototypes[contrast.present], "t-SNE")
    directions = F.normalize(contrast.features.flatten(1).T, dim=1).numpy()
    assert len(placed.cells) == 20 and placed.cells[[0, -1]].tolist() == [0, len(directions) - 1]
    np.testing.assert_array_equal(placed.points, directions[placed.cells, :2])
    assert len(placed.stars) == contrast.present.sum()
    assert placed.note.startswith(f"20 of {len(directions)} cells") and "no mark" in placed.note


@pytest.mark.parametrize(("method", "module"), [("t-SNE", "sklearn.manifold"), ("UMAP", "umap")])
def test_optional_projections_where_they_are_installed(contrast, method, module):
    pytest.importorskip(module)
    prototypes = contrast.prototypes[contrast.present]
    first, second = (project(contrast.features, prototypes, method) for _ in range(2))
    assert first.points.shape == (contrast.middles.shape[0], 2)
    assert first.stars.shape == (len(prototypes), 2) and np.isfinite(first.points).all()
    np.testing.assert_array_equal(first.points, second.points)


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
    np.testing.assert_array_equal(shown(explorer.agreement), blend(picture.pixels, colors, 0.7))
    assert f"agree, {found.agree.mean():.1%}" in explorer.captions[3].value
    right = picture.pseudo_label == picture.label
    where = found.agree & (picture.label != IGNORE)
    assert f"right: {right[where].mean():.1%} where they agree" in explorer.captions[3].value
    assert "PCA of all" in explorer.plane_caption.value
    assert "a test" in explorer.children[0].value
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
    bars = class_bars(contrast.train_ids[present], similarity[present], bold=[facts.nearest])
    assert bars in explorer.bars.value
    for train_id in contrast.train_ids[~present]:
        assert NAMES[train_id] in explorer.bars.value.partition("absent")[2]
    assert f"row {pixel[0]}, column {pixel[1]}" in explorer.pixel.value
    verdict = "agree" if contrast.agree[tuple(pixel)] else "disagree"
    assert f"<b>{verdict}</b>" in explorer.pixel.value
    for term in terms_seen(facts, WEIGHTS):
        assert f"<td>{term.weight:g}</td><td>{'yes' if term.seen else 'no'}</td>" in (
            explorer.terms.value
        )
        assert term.why in explorer.terms.value
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
    facts = pixel_facts(prototype_contrast(gallery, 0, 0), (40, 90))
    assert f"{facts.similarity[explorer.contrast.present][0]:.3f}" in explorer.bars.value
    explorer.step.value = 10
    assert explorer.status.value == ""


def test_without_labels_or_snapshots_it_says_so(gallery):
    explorer = PrototypesExplorer(unlabelled(gallery))
    assert explorer.step.disabled and "nothing is labelled" in explorer.children[0].value
    assert "true class" not in explorer.colored_by.options
    assert "not known, no labels" in explorer.pixel.value
    assert "not known, no labels" in explorer.captions[3].value
    explorer.image.picked = [1, 2]
    assert "row 1, column 2" in explorer.pixel.value


def test_names_of_pictures_and_classes_are_text_not_html(explorer):
    assert explorer.image.alt.startswith("street <0>.png")
    assert "<0>" not in "".join(caption.value for caption in explorer.captions)


# The static twin


def texts(figure: plt.Figure) -> str:
    found = [text.get_text() for part in figure.subfigs for text in part.findobj(plt.Text)]
    return "\n".join([figure.get_suptitle(), *found])


def test_static_twin_has_the_same_pictures_bars_and_words(gallery, contrast):
    name = CAMVID_11.names[int(contrast.present.argmax())]
    figure = prototypes_view(gallery, 0, 10, (17, 100), name, region=(10, 20, 30, 60))
    upper, lower = figure.subfigs
    image, assignment, similarity, agreement = (
        axes.images[0].get_array() for axes in upper.axes[:4]
    )
    cells = contrast.cells_in([10, 20, 30, 60])
    within, pixels = np.isin(contrast.cells, cells)[..., None], gallery.pictures[0].pixels
    np.testing.assert_array_equal(image, np.where(within, pixels, pixels // 4))
    np.testing.assert_array_equal(assignment, colorize(contrast.nearest))
    values, *scale = contrast.similarity_map(int(contrast.present.argmax()))
    assert_close(np.asarray(similarity), values)
    assert upper.axes[2].images[0].get_clim() == tuple(scale)
    colors = np.where(contrast.agree[..., None], BLUE, ORANGE)
    np.testing.assert_array_equal(agreement, blend(pixels, colors, 0.7))
    plane, bars, _ = lower.axes
    facts = pixel_facts(contrast, (17, 100))
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], facts.similarity)
    placed = project(contrast.features, contrast.prototypes[contrast.present])
    np.testing.assert_array_equal(plane.collections[0].get_offsets(), placed.points)
    np.testing.assert_array_equal(plane.collections[1].get_offsets(), placed.points[cells])
    words = texts(figure)
    for wanted in (
        "a test: street <0>.png, step 10",
        f"similarity to {name}",
        f"agree, {contrast.agree.mean():.1%}, of which {right_shares(contrast)[0]:.1%} right",
        f"these two {'agree' if facts.agree else 'disagree'}",
        "(weight 0.7) sees" if facts.agree else "(weight 0.7) does not see",
        f"{len(cells)} feature cells selected",
    ):
        assert wanted in words
    plt.close(figure)


def test_static_twin_without_labels_and_of_an_absent_class(gallery):
    found = prototype_contrast(gallery, 0, 0)
    name = CAMVID_11.names[int(found.present.argmin())]
    figure = prototypes_view(unlabelled(gallery), shown_class=name)
    words = texts(figure)
    assert "nothing is labelled" in words and "true class: not known" in words
    assert f"similarity to {name} (absent" in words
    assert "of which" not in words
    plt.close(figure)


def test_static_twin_refuses_what_is_not_there(gallery):
    with pytest.raises(ValueError, match="zebra: not among road"):
        prototypes_view(gallery, shown_class="zebra")
    with pytest.raises(CheckpointError, match="cut off"):
        prototypes_view(gallery, step=20)


def test_opens_on_a_run_with_snapshots(tiny_run):
    gallery = open_gallery(tiny_run, number=1)
    assert gallery.steps[-1] == 6
    explorer = PrototypesExplorer(gallery)
    explorer.step.value = 6
    found = prototype_contrast(gallery, 0, 6)
    np.testing.assert_array_equal(shown(explorer.assignment), colorize(found.nearest))
    assert explorer.status.value == ""
