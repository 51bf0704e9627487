"""Networks on disk: ours, the published ones, and ImageNet's."""
