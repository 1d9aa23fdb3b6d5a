"""Weights on disk: how they come in, how they are checked, how they go to a box without a network.

Knows files, hashes and the hub's HTTP interface; no tensors, no models in memory, no terminal.
"""
