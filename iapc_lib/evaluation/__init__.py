"""Scores and tables."""
