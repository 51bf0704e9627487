"""Pictures: one function a picture, each returns its matplotlib `Figure`.

`panels` shows images, label maps and scalar maps side by side; `charts` shows one run's scores,
curves and distributions; `studies` shows many runs; `method_map` draws the method on one page.
Class colours are those of Cityscapes; everything else uses a colour-blind palette.
`iapc.mplstyle` says how all of them look.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from iapc_lib.figures.charts import (
    agreement_by_class,
    color_histograms,
    confusion_map,
    curves,
    dots_by_class,
    feature_planes,
    gradient_norms,
    histogram_right_wrong,
    loss_terms,
    reliability,
    roc,
)
from iapc_lib.figures.method_map import method_map, small_map
from iapc_lib.figures.panels import (
    Panel,
    change_panel,
    error_panel,
    image_panel,
    label_panel,
    map_panel,
    panels,
    save,
    save_figure,
)
from iapc_lib.figures.studies import ablation_chart, class_change_map, difference_chart

plt.style.use(Path(__file__).with_name("iapc.mplstyle"))
