"""From drawings to a trained, tracked and drawn Sketch-RNN."""
