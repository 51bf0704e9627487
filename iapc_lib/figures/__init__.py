"""Pictures: one function a picture, each returns its matplotlib `Figure`.

`panels` shows images, label maps and scalar maps side by side; `charts` shows scores, curves and
distributions; `study` shows many runs. Class colours are those of Cityscapes; everything else uses
a colour-blind palette.
"""

from iapc_lib.figures.charts import (
    agreement_by_class,
    bars_by_class,
    class_frequencies,
    color_histograms,
    confusion_map,
    curves,
    dots_by_class,
    gradient_norms,
    histogram_right_wrong,
    iou_by_class,
    iou_change,
    learning_rates,
    loss_terms,
    miou_bars,
    projection,
    reliability,
    score_over_time,
    training_curve,
)
from iapc_lib.figures.method_map import method_map
from iapc_lib.figures.panels import (
    Panel,
    class_legend,
    error_panel,
    image_panel,
    label_panel,
    map_panel,
    panels,
    save,
    save_figure,
)
from iapc_lib.figures.studies import ablation_chart, class_change_map, difference_chart

__all__ = [
    "Panel",
    "ablation_chart",
    "agreement_by_class",
    "bars_by_class",
    "class_change_map",
    "class_frequencies",
    "class_legend",
    "color_histograms",
    "confusion_map",
    "curves",
    "difference_chart",
    "dots_by_class",
    "error_panel",
    "gradient_norms",
    "histogram_right_wrong",
    "image_panel",
    "iou_by_class",
    "iou_change",
    "label_panel",
    "learning_rates",
    "loss_terms",
    "map_panel",
    "method_map",
    "miou_bars",
    "panels",
    "projection",
    "reliability",
    "save",
    "save_figure",
    "score_over_time",
    "training_curve",
]
