"""Weights on disk -> models in a device's memory, within its budget."""
