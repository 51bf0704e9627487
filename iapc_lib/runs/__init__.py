"""Run folders: what a run has made, what made it, and what two runs have in common."""
