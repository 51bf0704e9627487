"""The adaptation explorer."""
