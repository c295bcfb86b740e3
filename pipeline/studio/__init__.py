"""A page on which a person draws and a model goes on: `python -m pipeline.studio`."""
