"""The published method and nothing else, to be read in the order of these imports.

Settings; the network; importance; prototypes; the losses; from the outputs of three networks to one
number; the optimiser; one update. It needs torch, pydantic (for the settings) and the table of
classes, no run folder, no device policy and no file: the folder can be lifted into another project.
"""

from iapc_lib.method.settings import Fidelity, Losses, Model, Optimizer, StepSettings
from iapc_lib.method.deeplab import DeepLabV2, Prediction, network_input, upsample
from iapc_lib.method.importance import importance_map
from iapc_lib.method.prototypes import (
    class_prototypes,
    memory_prototypes,
    moving_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
    used_prototypes,
)
from iapc_lib.method.losses import (
    class_counts,
    class_weights,
    entropy_map,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
    weighted_cross_entropy,
)
from iapc_lib.method.objective import TERMS, LossTerms, iapc_losses
from iapc_lib.method.optimizer import (
    learning_rate,
    make_optimizer,
    parameter_visits,
    set_learning_rate,
)
from iapc_lib.method.step import (
    Forward,
    Networks,
    StepResult,
    adaptation_step,
    clean_forward,
    descend,
    update_memory,
)
