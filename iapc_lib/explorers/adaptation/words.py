"""What the adaptation explorer says in tables and charts, as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from iapc_lib.explorers.adaptation.facts import WINDOW, Look, dev_curve, loss_curve
from iapc_lib.explorers.gallery import Gallery, Picture
from iapc_lib.explorers.line_chart import Curve, line_chart
from iapc_lib.explorers.parts import COLORS, bar_cell, swatch
from iapc_lib.explorers.terms import TERM_NAMES, loss_symbol

OTHER_COLORS = [COLORS[1], COLORS[3]]


def _table(rows: Sequence[Sequence[str]], align: str = "right") -> str:
    """Rows of HTML cells, the first row as heads; the first column is aligned to the left."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = [
            f'<{tag} style="text-align:{align if column else "left"};padding-right:1em;'
            f'white-space:nowrap">{cell}</{tag}>'
            for column, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table style="line-height:1.3">{"".join(lines)}</table>'


def score_table(looks: Mapping[str, Look]) -> str:
    """Scores of one picture, a column a look.

    Args:
        looks: by the heading of their column; all with labels, or all without.
    """
    looked, rows = list(looks.values()), [["this picture", *map(html.escape, looks)]]
    labelled = looked[0].miou is not None
    if labelled:
        rows.append(["mIoU (%)", *(f"{look.miou:.1f}" for look in looked)])
        rows.append(["pixels right (%)", *(f"{100 * look.right:.1f}" for look in looked)])
    agreements = [f"{100 * look.agreement:.1f}" for look in looked]
    rows.append(["agrees with the pseudo-label (%)", *agreements])
    return _table(rows) + ("" if labelled else "no labels, hence no score")


def terms_table(look: Look, update: Mapping[str, float]) -> str:
    """The objective on this picture beside that of the run's own batch.

    Args:
        look: gives the terms on the picture.
        update: the history's entry of the update that starts from these networks, or empty.
    """
    columns = {"this picture": look.terms, "batch of the update": update}
    columns = {head: found for head, found in columns.items() if found}
    if not columns:
        return ""
    names = {name: f"{loss_symbol(short)}, weighted" for name, short in TERM_NAMES.items()}
    names = {"loss": "sum of the terms", **names, "importance": "mean importance"}
    names["agreement"] = "prototype and pseudo-label agree"
    rows = [[f"objective, step {look.step}", *columns]]
    for name, said in names.items():
        if any(name in found for found in columns.values()):
            values = (found.get(name) for found in columns.values())
            rows.append([said, *("" if value is None else f"{value:.4f}" for value in values)])
    return _table(rows)


def pixel_table(picture: Picture, pixel: tuple[int, int], looks: Sequence[Look]) -> str:
    """The classes of one pixel (row, column), a row a step."""
    known = f"pseudo-label {swatch(int(picture.pseudo_label[pixel]))}"
    if picture.label is not None:
        known += f" &nbsp; label {swatch(int(picture.label[pixel]))}"
    rows = [["step", "student"]]
    for look in looks:
        rows.append([str(look.step), swatch(int(look.student[pixel]))])
        if look.memory is not None:
            rows[-1].append(swatch(int(look.memory[pixel])))
    if len(rows[-1]) == 3:
        rows[0].append("memory network")
    heading = f"<b>pixel: row {pixel[0]}, column {pixel[1]}</b><br>{known}"
    return heading + _table(rows, "left")


def iou_bars(looks: Mapping[str, Look]) -> str:
    """IoU of every class that occurs in a label or prediction, a bar for every look."""
    train_ids = sorted({train_id for look in looks.values() for train_id in look.iou})
    if not train_ids:
        return ""
    heads = "".join(f'<th colspan="2" style="text-align:left">{name}</th>' for name in looks)
    lines = [f'<tr><th style="text-align:left">IoU on this picture (%)</th>{heads}</tr>']
    for train_id in train_ids:
        cells = [f'<td style="padding-right:0.6em">{swatch(train_id)}</td>']
        for look in looks.values():
            iou = look.iou.get(train_id)
            number = "absent" if iou is None else f"{iou:.1f}"
            cells.append(bar_cell(iou or 0.0, (0, 100), "9em"))
            cells.append(f'<td style="text-align:right;padding:0 1.2em 0 0.4em">{number}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table style="line-height:1.3">{"".join(lines)}</table>'


def run_charts(runs: Mapping[str, tuple[Gallery, Sequence[Look]]], step: int) -> str:
    """The run's curves with the step marked: loss, mIoU, agreement with the pseudo-label.

    Args:
        runs: one or two; by what to call them: the gallery, and the looks taken so far.
        step: to be marked.
    """
    losses, scores, agreements = [], [], []
    palettes = [COLORS[:1] + COLORS[2:3], OTHER_COLORS]
    for (name, (gallery, looks)), (first, second) in zip(runs.items(), palettes, strict=False):
        of = f", {name}" if len(runs) > 1 else ""
        losses.append(Curve(name, loss_curve(gallery.history), first))
        scores.append(Curve(f"dev{of}", dev_curve(gallery.history), first, dots=True))
        here = [(look.step, look.miou) for look in looks if look.miou is not None]
        scores.append(Curve(f"this picture{of}", here, second, dots=True, dashes="4 3"))
        agreed = [(look.step, 100 * look.agreement) for look in looks]
        agreements.append(Curve(name, agreed, second, dots=True, dashes="4 3"))
    drawn = (
        line_chart(f"loss, mean of {WINDOW} updates", losses, step),
        line_chart("mIoU (%)", [curve for curve in scores if curve.points], step),
        line_chart("agreement with pseudo-label (%)", agreements, step),
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 12px">{"".join(drawn)}</div>'
