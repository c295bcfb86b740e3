"""A trained model in the formats of other programs, and the proof that each holds it."""
