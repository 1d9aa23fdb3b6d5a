"""The HTTP side of darkroom: the Images API, its queue and its fleet of workers. Never imports torch."""
