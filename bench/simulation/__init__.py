"""Devices, models and clients that are only numbers, driven by the product's own policy."""
