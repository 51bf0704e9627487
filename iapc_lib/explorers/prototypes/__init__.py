"""The prototypes explorer."""
