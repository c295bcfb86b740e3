"""The embedded default data: sketches that this project generates, in the schema of Quick, Draw!.

Each category is a parametric family of drawings, traced with the jitter and wobble of a hand. They
are always marked as generated: the country code of every line is ZZ.
"""

from pipeline.doodles.generator import CATEGORIES, VERSION, generate, generate_raw

__all__ = ["CATEGORIES", "VERSION", "generate", "generate_raw"]
