"""Label maps of three dusk streets, without the photographs: docs/camvid.png.

.venv/bin/python docs/camvid_maps.py papermill_runs/camvid_dusk-seed0

CamVid's pictures and labels may not be passed on; what our networks call their pixels may.
"""

import sys
from pathlib import Path

from iapc_lib import figures
from iapc_lib.data.images import every_nth, read_image
from iapc_lib.data.layouts import target_records
from iapc_lib.pipeline import stages
from iapc_lib.prediction.image import PredictionSettings, predict_image
from iapc_lib.rows import TITLES
from iapc_lib.runs.folder import read_run

STREETS = 3


def main(folder: str) -> None:
    run = read_run(folder)
    settings = PredictionSettings(short_side=min(run.config.evaluation.image_size))
    records = every_nth(target_records(run.config, "val", labels=False), STREETS)
    rows = [[] for _ in records]
    for row in ("source_only", "bn_recomputed", "iapc"):
        ready = stages.network(run, row)
        for panels, record in zip(rows, records, strict=True):
            labels = predict_image(ready, read_image(record.image), settings).labels
            panels.append(figures.label_panel(TITLES[row], labels))
    figures.save_figure(figures.panels(rows), Path(__file__).with_name("camvid.png"))


if __name__ == "__main__":
    main(sys.argv[1])
