"""`python -m pipeline.promote SEARCH NAME`: the winner of a search as an experiment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import ending_at_user_errors
from pipeline.search.promotion import write_experiment

_EXPERIMENTS = Path(__file__).parents[1] / "conf" / "experiment"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes conf/experiment/NAME.yaml, and says what comes next."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.promote", description=__doc__)
    parser.add_argument("search", type=Path, help="folder of its results, .../search/NAME")
    parser.add_argument("name", help="of the experiment, and of its manifest, runs and results")
    parser.add_argument("--trial", type=int, help="its number; without it, the winner")
    options = parser.parse_args(arguments)
    path = _EXPERIMENTS / f"{options.name}.yaml"
    with ending_at_user_errors():
        write_experiment(options.search, path, options.trial)
    print(f"experiment  {path}")
    for stage in ("prepare", "train"):
        print(f"next        python -m pipeline.{stage} +experiment={options.name}")


if __name__ == "__main__":
    main()
