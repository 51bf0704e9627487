"""What `iapc_lib.method` offers, in the order of reading."""

from .settings import Fidelity, Losses, Model, Optimizer, StepSettings
from .deeplab import DeepLabV2, Prediction, network_input, upsample
from .importance import importance_map
from .prototypes import (
    class_prototypes,
    memory_prototypes,
    moving_prototypes,
    prototype_labels,
    prototype_similarity,
    resample_labels,
    scrambled_2023,
    used_prototypes,
)
from .losses import (
    class_counts,
    class_weights,
    entropy_map,
    importance_aware_loss,
    information_maximization_loss,
    prototype_enhanced_loss,
    prototype_symmetric_loss,
    weighted_cross_entropy,
)
from .objective import TERMS, LossTerms, iapc_losses
from .optimizer import (
    learning_rate,
    make_optimizer,
    parameter_visits,
    set_learning_rate,
)
from .step import (
    Forward,
    Networks,
    StepResult,
    adaptation_step,
    clean_forward,
    descend,
    update_memory,
)
