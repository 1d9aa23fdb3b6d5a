"""Who goes next, by what passes were measured to take."""
