"""Sentences that say what is seen, filled from data: they stay true for another run.

Each takes arrays or tables and returns text; `notebook.say` shows it.
"""

from iapc_lib.findings.data import colours_left, frequent_and_rare, light, more_often
from iapc_lib.findings.errors import (
    averaged,
    called_otherwise,
    change_of_classes,
    frequencies,
    largest_wrong_region,
    mended,
    pieces_changed,
    relabelled,
    still_confused,
    swallowed,
)
from iapc_lib.findings.network import course_of_loss, nearest_to_the_sum, where_influence_lies
from iapc_lib.findings.prototypes import (
    agreement,
    agreement_of_classes,
    alike,
    nearest_at_the_error,
    neighbours,
    second_opinion,
    undecided,
)
from iapc_lib.findings.results import (
    by_difficulty,
    compared,
    gain_explained,
    left_over,
    over_classes,
    same_order,
    wins,
)
from iapc_lib.findings.study import (
    against_recomputed,
    all_alike,
    clear_of_zero,
    difference,
    every_seed,
    measured_means,
    missing_runs,
    pairing,
    same_seed_first,
    shared_starts,
    way_to_the_oracle,
)
from iapc_lib.findings.training import (
    collapse,
    colours_moved,
    course,
    followed,
    pulls,
    share_of_gain,
    size_and_pull,
    terms_moved,
)
from iapc_lib.findings.trust import (
    best_first,
    effort,
    falls_faster,
    kept_above,
    order_reversed,
    promises,
    regimes_met,
    right_and_wrong,
    said_and_found,
    sure_and_right,
    sure_of_the_error,
    trusted_and_wrong,
    weights_by_class,
)
from iapc_lib.findings.wording import listed
