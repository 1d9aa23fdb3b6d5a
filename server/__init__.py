"""The HTTP side of darkroom: the Images API, its queue and its workers. Never imports torch."""
