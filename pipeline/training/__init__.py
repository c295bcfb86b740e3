"""Training: `fit(config)` and what it is made of."""
