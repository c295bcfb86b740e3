"""What `pipeline.draw` does: a model and drawings in, what the model makes of them, files out."""
