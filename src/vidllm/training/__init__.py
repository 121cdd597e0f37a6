"""Training: recipes, stages, batches, the trainer and its checkpoints."""
