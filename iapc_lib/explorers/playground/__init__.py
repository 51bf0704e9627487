"""The loss playground."""
