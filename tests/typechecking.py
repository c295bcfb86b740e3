"""How the tests check the annotations of `sketch_model`: shapes by jaxtyping, types by beartype."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
