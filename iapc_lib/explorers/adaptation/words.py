"""What the adaptation explorer says in tables and charts, as HTML."""

import html
import math
from collections.abc import Mapping, Sequence

from iapc_lib.explorers.adaptation.facts import WINDOW, PictureAtStep, loss_curve
from iapc_lib.explorers.gallery import Gallery, Picture
from iapc_lib.explorers.line_chart import Curve, line_chart
from iapc_lib.explorers.parts import COLORS, swatch, table
from iapc_lib.explorers.terms import loss_symbol
from iapc_lib.method.objective import TERMS
from iapc_lib.training.monitor import dev_curve


def reading(columns: Mapping[str, PictureAtStep]) -> str:
    """What became of one picture, in a sentence; the arguments are those of `score_table`."""

    def course(values: Sequence[float]) -> str:
        return ", ".join(
            f"<b>{100 * value:.1f} %</b> ({html.escape(heading)})"
            for heading, value in zip(columns, values, strict=True)
        )

    shown = list(columns.values())
    parts = []
    if shown[0].right is not None:
        parts.append(f"Right in this picture: {course([one.right for one in shown])}.")
    parts.append(f"Like the pseudo-label: {course([one.agreement for one in shown])}.")
    return " ".join(parts)


def score_table(columns: Mapping[str, PictureAtStep]) -> str:
    """Scores of one picture, by the heading of their column; all with labels, or all without."""
    scores = {}
    for heading, one in columns.items():
        rows = {"agrees with the pseudo-label (%)": 100 * one.agreement}
        if one.miou is not None:
            rows = {"mIoU (%)": one.miou, "pixels right (%)": 100 * one.right, **rows}
        scores[html.escape(heading)] = rows.values()
    made = table({"this picture": rows.keys(), **scores}, dict.fromkeys(scores, "{:.1f}".format))
    return made + ("" if "mIoU (%)" in rows else "no labels, hence no score")


def terms_table(now: PictureAtStep, update: Mapping[str, float]) -> str:
    """What is minimised, on this picture and on the run's own batch; empty if neither is known.

    Args:
        now: gives the terms on the picture; they are empty where there is no memory network.
        update: the history's entry of the update that starts from these networks, or empty.
    """
    columns = {"this picture": now.terms, "batch of the update": update}
    columns = {head: found for head, found in columns.items() if found}
    if not columns:
        return ""
    names = {"loss": "loss"}
    if now.terms:
        names = {"loss": "sum of the terms"}
        names |= {name: f"{loss_symbol(name)}, weighted" for name in TERMS}
        names |= {"importance": "mean importance", "agreement": "prototype and pseudo-label agree"}
    values = {head: [found[name] for name in names] for head, found in columns.items()}
    heading = f"objective, step {now.step}"
    return table({heading: names.values(), **values}, dict.fromkeys(values, "{:.4f}".format))


def pixel_table(
    picture: Picture, pixel: tuple[int, int], by_step: Mapping[int, PictureAtStep]
) -> str:
    """The classes of one pixel (row, column), a row a step."""
    known = f"pseudo-label {swatch(picture.pseudo_label[pixel])}"
    if picture.label is not None:
        known += f" &nbsp; label {swatch(picture.label[pixel])}"
    columns = {
        "step": list(by_step),
        "student": [swatch(one.student[pixel]) for one in by_step.values()],
    }
    memory = [one.memory for one in by_step.values()]
    if all(labels is not None for labels in memory):
        columns["memory network"] = [swatch(labels[pixel]) for labels in memory]
    heading = f"<b>pixel: row {pixel[0]}, column {pixel[1]}</b><br>{known}"
    return heading + table(columns, {"step": str})


def iou_bars(columns: Mapping[str, PictureAtStep]) -> str:
    """IoU of every class that occurs in a label or prediction, by the heading of their column."""
    train_ids = sorted({train_id for one in columns.values() for train_id in one.iou})
    if not train_ids:
        return ""
    values = {
        html.escape(heading): [one.iou.get(train_id, math.nan) for train_id in train_ids]
        for heading, one in columns.items()
    }
    return table(
        {"IoU on this picture (%)": list(map(swatch, train_ids)), **values},
        dict.fromkeys(values, "{:.1f}".format),
        dict.fromkeys(values, (0, 100)),
        missing="absent",
    )


def run_charts(runs: Mapping[str, tuple[Gallery, Sequence[PictureAtStep]]], step: int) -> str:
    """The run's curves with the step marked: loss, mIoU, agreement with the pseudo-label.

    Args:
        runs: one or two; by what to call them: the gallery, and the picture at its steps.
        step: to be marked.
    """
    dev, here, agreements = [], [], []
    for number, (name, (gallery, pictures)) in enumerate(runs.items()):
        look = {"color": COLORS[number], "dots": True, "dashes": ("", "4 3")[number]}
        dev.append(Curve(name, dev_curve(gallery.history), **look))
        scores = [(one.step, one.miou) for one in pictures if one.miou is not None]
        here.append(Curve(name, scores, **look))
        agreed = [(one.step, 100 * one.agreement) for one in pictures]
        agreements.append(Curve(name, agreed, **look))
    # Heights of two methods' losses say nothing of one another: of the first run alone.
    first, (gallery, _) = next(iter(runs.items()))
    loss = Curve(first, loss_curve(gallery.history), COLORS[0])
    drawn = (
        line_chart("mIoU of this picture (%)", [c for c in here if c.points], step),
        line_chart("mIoU on dev (%)", [c for c in dev if c.points], step),
        line_chart("agreement with pseudo-label (%)", agreements, step),
        line_chart(f"loss, mean of {WINDOW} updates", [loss], step, from_zero=True),
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 12px">{"".join(drawn)}</div>'
