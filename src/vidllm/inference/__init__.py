"""Running the model on videos: load it, encode a scene once, ask many times."""
