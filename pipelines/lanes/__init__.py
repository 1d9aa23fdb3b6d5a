"""Where pipeline calls are parked and meet: a denoiser's, a text encoder's, a decoder's."""
