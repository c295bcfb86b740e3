"""`python -m pipeline.search +experiment=NAME [+search=NAME]`: the values that train it best.

The same command goes on with a search that was interrupted, and with a larger search.num_trials
extends one that is finished.
"""

from __future__ import annotations

import sys

from pipeline.config import Config
from pipeline.entry import command
from pipeline.importing import importing

_DEFAULT = "+search=rate_distortion"


def search(config: Config) -> None:
    """Runs the trials, and says which is the best and how it is trained in full."""
    with importing():  # Ray: not needed to print --help
        from pipeline.search.driver import run_search

    run_search(config, sys.argv[1:])


def main() -> None:
    """Chooses the space of the paper's trade-off unless another is named, or begun with +."""
    if not any(argument.startswith(("+search=", "+search.space.")) for argument in sys.argv):
        sys.argv.insert(1, _DEFAULT)  # flags come after it
    command(search)()


if __name__ == "__main__":
    main()
