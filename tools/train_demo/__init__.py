"""Makes the demo model, a tiny Flux that draws coloured shapes, from nothing."""
