"""A run from beginning to end: its stages, its results, and the notebooks through papermill."""
