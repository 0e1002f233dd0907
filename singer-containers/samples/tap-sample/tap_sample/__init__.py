"""A Singer tap."""
