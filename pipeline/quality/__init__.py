"""How well a model draws, judged by a recogniser: what likelihood does not tell."""
