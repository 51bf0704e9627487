"""Source training, pseudo-labels and adaptation."""
