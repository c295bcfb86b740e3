"""`python -m pipeline.reproduce`: the paper's Table 1 and Figure 4, its figures beside ours.

Each cell is an ordinary run, by the ordinary commands; the same command line goes on where it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import ending_at_user_errors
from pipeline.importing import importing
from pipeline.reproduction.paper import Column, paper_experiments

_EPILOG = """\
The paper's own data, from the public bucket, at the paper's sizes (a GPU and patience):

  python -m pipeline.reproduce source=quickdraw source.format=npz ingest.splits=own \\
      model=paper recipe=paper

Any file of conf/experiment can be a row; those that the paper does not have are shown alone.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not trained yet, and says where the table is."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_intermixed_args(arguments)
    with importing():  # torch: not needed to print --help
        from pipeline.reproduction.driver import Reproduction
        from pipeline.reproduction.process import CommandFailed
        from pipeline.training.interruption import Interrupted

    command = shlex.join(["python", "-m", "pipeline.reproduce", *arguments])
    wanted = Reproduction(
        options.experiments, options.columns, options.overrides, options.out, command
    )
    with ending_at_user_errors():
        try:
            paths = wanted.run()
        except CommandFailed as failure:
            _say(f"error: `{failure.command}` ended with exit code {failure.code}", command)
            raise
        except Interrupted as signal:
            _say(f"interrupted by {signal} (exit code {signal.code})", command)
            raise
    for path in paths:
        print(f"{path.suffix[1:]:<9} {path}")


def _say(what: str, command: str) -> None:
    print(f"{what}. What is finished stays, and `{command}` goes on", file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(text.split(",")))


def _columns(text: str) -> list[Column]:
    try:
        return [Column(name) for name in _names(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Column)}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.reproduce",
        description="The paper's Table 1 and Figure 4 from here, its figures beside ours.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--experiments",
        type=_names,
        default=paper_experiments(),
        metavar="NAME,...",
        help=f"rows of the table; without it {', '.join(paper_experiments())}",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        default=list(Column),
        metavar="NAME,...",
        help=f"of {', '.join(Column)}; without it all of them",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the table; without it results/SOURCE/reproduction"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="OVERRIDE",
        help="of all trainings, as source=quickdraw or train.max_steps=2000",
    )
    return parser


if __name__ == "__main__":
    main()
