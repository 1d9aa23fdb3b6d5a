"""The tensor side of darkroom: models, lanes, the engine of a device. Knows no HTTP."""
