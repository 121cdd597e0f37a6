"""A small furnished room, ray-cast: the world of the example clip."""
