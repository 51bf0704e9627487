"""The site's pages agree with the notebooks and the library. Building it is `make site`."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

import iapc_lib
from iapc_lib import figures
from iapc_lib.figures import drawings
from iapc_lib.figures.canvas import WORDS
from iapc_lib.figures.method_map import LOSSES, PARTS
from tests.conftest import PROJECT

pytest.importorskip("myst_parser", reason="the site needs the packages of the dev extra")

DOCS = PROJECT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
LINK = re.compile(r"(?<!\\)\[((?:[^\[\]]|\\\])*)\]\(([^()\s]+)\)")


@pytest.fixture(scope="module")
def conf():
    spec = importlib.util.spec_from_file_location("site_conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def anchors(path: Path) -> set[str]:
    """What `#...` may follow a link to a page or a notebook: its headings."""
    from myst_parser.slugs import github_slugify

    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    return {github_slugify(re.sub(r"\$[^$]*\$|[*`]", "", title)) for title in titles}


@cache
def names_in(path: Path) -> set[str]:
    """What a module defines or passes on, members of its classes as `Class.name`."""
    found = set()

    def visit(body, prefix=""):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
            elif isinstance(node, ast.AnnAssign):
                found.add(prefix + node.target.id)
            elif isinstance(node, ast.Assign):
                found.update(prefix + t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.ImportFrom):
                found.update(prefix + alias.name for alias in node.names)
            if isinstance(node, ast.ClassDef):
                visit(node.body, node.name + ".")

    visit(ast.parse(path.read_text()).body)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    broken = []
    for text, target in LINK.findall(page.read_text()):
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if "://" in target:
            broken.append(f"{target}: the site must be whole offline")
        elif not file.is_file():
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file):
            broken.append(f"{target}: no such heading; there are {sorted(anchors(file))}")
        elif file.suffix == ".py" and "/" not in text and text.strip("`") not in names_in(file):
            broken.append(f"{target} does not define {text}")
    assert not broken


def test_every_entry_of_the_glossary_is_defined_once_and_leads_to_a_notebook_or_to_code():
    rows = [row for row in (DOCS / "glossary.md").read_text().splitlines() if row.startswith("| ")]
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    rows = [row for row in rows if row[0] not in ("term", "symbol") and set(row[0]) != {"-"}]
    assert len(rows) > 70
    terms = [row[0] for row in rows]
    assert len(terms) == len(set(terms))
    assert not [row for row in rows if len(row) != 3 or not all(row)]


def test_the_glossary_names_every_function_of_the_method():
    """Importance, prototypes and losses are small modules: nothing of them goes unexplained."""
    text = (DOCS / "glossary.md").read_text()
    for module in ("importance", "prototypes", "losses"):
        path = PROJECT / "iapc_lib" / "method" / f"{module}.py"
        functions = {n.name for n in ast.parse(path.read_text()).body if hasattr(n, "args")}
        link = f"](../iapc_lib/method/{module}.py)"
        missing = {name for name in functions if f"[`{name}`{link}" not in text}
        assert not missing, f"{module}.py: {missing}"


def public_modules(package=iapc_lib) -> set[str]:
    """All modules with something in them; packages count where they export names."""
    found = set()
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.ispkg and not module.name.rpartition(".")[2].startswith("_"):
            found.add(module.name)
    # The drawings of the miniature worlds are one tool; its package says what it offers.
    return {name for name in found if not name.startswith("iapc_lib.data.miniature.")}


def test_every_public_module_is_in_the_reference(conf):
    pages = [conf.list_modules(page.read_text()) for page in (DOCS / "reference").glob("*.md")]
    listed = re.findall(r"automodule:: (\S+)", "\n".join(pages))
    assert len(listed) == len(set(listed))
    missing = public_modules() - set(listed)
    assert not missing, f"add a line like '{{module}} {min(missing)}' to a page of docs/reference"


def test_links_to_code_become_references(conf):
    text = "see [`importance_map`](../iapc_lib/method/importance.py) and [x](other.md)"
    name = "iapc_lib.method.importance.importance_map"
    assert conf.link_code(text) == f"see {{py:obj}}`importance_map <{name}>` and [x](other.md)"


def test_links_that_leave_the_site_become_names(conf):
    assert conf.unlink(
        "[the results](../README.md#results), [RESULTS.md](../benchmarks/RESULTS.md)"
    ) == ("the results (`README.md`), RESULTS.md")
    inside = "[the method](method.md#6-optimiser), [00](../notebooks/00_data.ipynb)"
    assert conf.unlink(inside) == inside


def test_notebooks_lose_what_a_page_cannot_show_and_every_picture_gets_a_text(conf):
    def display(**data):
        return {"output_type": "display_data", "data": data, "metadata": {}}

    def code(*outputs):
        return {"cell_type": "code", "source": "1", "metadata": {}, "outputs": list(outputs)}

    bar = display(**{conf.WIDGET: {"model_id": "1"}, "text/plain": "Training: 100%"})
    explorer = display(**{conf.WIDGET: {"model_id": "2"}, "text/plain": "PrototypesExplorer(...)"})
    picture, described = display(**{"image/png": "AAAA"}), display(**{"image/png": "AAAA"})
    described["metadata"] = {"image/png": {"alt": "two streets"}}
    heading = {"cell_type": "markdown", "source": "## 2. The maps", "metadata": {}}
    notebook = {
        "metadata": {"widgets": {}},
        "cells": [heading, code(bar, picture), code(described), code(explorer)],
    }
    _, first, second, third = conf.prepare_notebook(notebook)["cells"]
    assert "widgets" not in notebook["metadata"]
    assert first["outputs"] == [picture]
    assert "“2. The maps”" in first["metadata"]["mystnb"]["image"]["alt"]
    assert second["metadata"]["mystnb"]["image"]["alt"] == "two streets"
    assert "make voila" in third["outputs"][0]["data"]["text/markdown"]


def test_markdown_tables_of_docstrings_reach_the_reference_as_tables(conf):
    lines = ["Kinds:", "", "| kind | I |", "| --- | --- |", "| `first` | s1 |", "", "Returns."]
    conf.prepare_docstring(None, "function", "f", None, None, lines)
    assert lines[2:8] == [
        ".. list-table::",
        "   :header-rows: 1",
        "",
        "   * - kind",
        "     - I",
        "   * - `first`",
    ]
    assert lines[-1] == "Returns."


PARTS_OF_A_NETWORK = {f"blocks {i}-{i + 3}": (320, 16, 32) for i in range(1, 7)}
DRAWINGS = {
    "page": figures.method_map,
    "head": figures.small_map,
    "network": lambda: drawings.network(PARTS_OF_A_NETWORK, (128, 256)),
} | {
    name: getattr(drawings, name)
    for name in ("source_free", "six_views", "two_values", "prototypes", "film_strip")
    + ("intersection_over_union", "fork", "paired_seeds")
}


@pytest.fixture(params=DRAWINGS)
def drawing(request):
    figure = DRAWINGS[request.param]()
    figure.canvas.draw()
    yield figure
    plt.close(figure)


def test_drawings_have_no_overlapping_or_cut_off_texts(drawing):
    texts = [t for t in drawing.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = {f"{n}: {t.get_text()}": t.get_window_extent() for n, t in enumerate(texts)}
    assert len(boxes) > 7
    page = drawing.bbox
    for text, box in boxes.items():
        assert page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1, text
    overlapping = [
        pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])
    ]
    assert not overlapping


def test_drawings_keep_texts_within_their_frames(drawing):
    (axes,) = drawing.axes
    frames = [patch.get_window_extent() for patch in axes.patches]
    for text in axes.texts:
        box = text.get_window_extent()
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        for frame in frames:
            if text.get_text() and frame.contains(*middle):
                assert frame.x0 < box.x0 and box.x1 < frame.x1, text.get_text()
                assert frame.y0 < box.y0 and box.y1 < frame.y1, text.get_text()


def test_method_map_marks_what_the_losses_really_take():
    """Gradients of the library's own objective: on the logits, on the features, or on neither."""
    import torch

    from iapc_lib.method import losses, prototypes

    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    features = torch.rand(1, 5, 3, 3, requires_grad=True)
    similarity = prototypes.prototype_similarity(features, torch.rand(1, 4, 5))
    log_p = logits.log_softmax(dim=1)
    label, nearest = torch.randint(4, (1, 3, 3)), similarity.argmax(dim=1)
    first, second = losses.prototype_symmetric_loss(
        log_p, similarity, nearest, logits.argmax(dim=1)
    )
    weight = torch.ones(4)
    terms = {
        "L_{IA}": losses.importance_aware_loss(log_p, label, torch.rand(1, 3, 3), weight),
        "L_{PE}": losses.prototype_enhanced_loss(log_p, nearest, nearest, weight),
        "L_{PS1}": first,
        "L_{PS2}": second,
        "L_{IM}": losses.information_maximization_loss(log_p),
    }
    for loss in LOSSES:
        gradients = torch.autograd.grad(
            terms[loss.symbol], (logits, features), retain_graph=True, allow_unused=True
        )
        reached = [g is not None for g in gradients]
        assert reached == [loss.gradient == "prediction", loss.gradient == "similarity"]


def test_each_part_of_the_small_map_lights_something_and_a_dropped_loss_is_crossed_out():
    def lit_texts(figure):
        (axes,) = figure.axes
        plt.close(figure)
        return {text.get_text() for text in axes.texts if text.get_color() == WORDS}

    everything = lit_texts(figures.small_map())
    parts = {part: lit_texts(figures.small_map(part)) for part in PARTS}
    assert all(texts and texts < everything for texts in parts.values())
    assert everything - set.union(*parts.values()) == {"$L_{IM}$", "entropy"}
    assert everything - lit_texts(figures.small_map(None, ["L_{PE}"])) >= {"$L_{PE}$"}


def test_the_committed_map_is_what_the_code_draws(tmp_path):
    figures.method_map().savefig(tmp_path / "map.png", dpi=160)
    made, committed = imread(tmp_path / "map.png"), imread(DOCS / "method_map.png")
    assert made.shape == committed.shape, "draw it anew: figures.method_map().savefig(..., dpi=160)"
    assert np.abs(made - committed).mean() < 0.01
