"""Connectors: find, make, try and select."""
