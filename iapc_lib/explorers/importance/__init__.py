"""The importance explorer."""
