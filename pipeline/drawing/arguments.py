"""The command line of `pipeline.draw`. Nothing here takes long to import: `--help` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.config import TrackingConfig, UserError

MAX_DRAWINGS = 100_000
MAX_TEMPERATURE = 10.0
MODEL_HELP = "folder of a model, of results or of a run; *.gen.json; models:/... or runs:/..."
STORE_HELP = "MLflow's store (sqlite:///mlflow.db)"
_OF_MLFLOW = ("models:/", "runs:/")
_DRAWING = (
    "FILE.svg, FILE.ndjson:LINE or FILE.npz:NUMBER (counted from 1), or a drawing of the data:"
    " id:KEY_ID, or train:ROW, valid:ROW or test:ROW (counted from 0)"
)
_EXAMPLES = """
examples:
  python -m pipeline.draw sample --model results/doodles/doodles/model --num 16 --out new.svg
  python -m pipeline.draw complete --model results/doodles/doodles/model test:3 --points 12 \\
      --animate --out endings.svg
  python -m pipeline.draw interpolate --model models:/sun@champion test:1 test:2 test:5 test:9 \\
      --data data/quickdraw/manifests/sun.json --out grid.png
  python -m pipeline.draw cross --model cat.gen.json chair.svg --out chair.svg
"""


def make_parser() -> argparse.ArgumentParser:
    """A sub-command for each operation, with the options that it reads and no others."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.draw",
        description="Draws with a trained model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION")

    def add(name: str, text: str, drawings: str, num: int, temperature: float = 0.4) -> _Command:
        return _Command(commands.add_parser(name, help=text, description=text), drawings).common(
            num, temperature
        )

    sample = add("sample", "draw something new", "", 8)
    sample.categories("of what the model is told to draw, --num of each; all by default")
    add("reconstruct", "encode drawings and draw them again", "+", 4).category()
    vary = add("vary", "many drawings like a given one, no two the same", "+", 16).category()
    vary.number("--spread", _fraction, 0.3, "0 keeps its latent vector, 1 forgets it")
    cross = add("cross", "a drawing of something else, as the model sees it", "+", 4)
    cross.categories("as which a model that is told draws it, --num of each; all by default")
    text = "from one drawing to another, or a grid between four"
    between = add("interpolate", text, "+", 8, 0.1).category()
    between.choice("--path", ["slerp", "lerp"], "along the great arc, or the straight line")
    add("analogy", "a + (b - c) of three drawings", "3", 4, 0.1).category()
    complete = add("complete", "several endings of a drawing that is begun", "+", 6).category()
    complete.beginning()
    return parser


def read_store(uri: str | None, models: Sequence[str]) -> TrackingConfig | None:
    """The store that --tracking-uri names; None if it is not given.

    Raises:
        UserError: if no model is one of MLflow's, for it would not be read.
    """
    if not uri:
        return None
    if not any(model.startswith(_OF_MLFLOW) for model in models):
        raise UserError(
            f"--tracking-uri is not read: {', '.join(models) or 'no model'} is none of MLflow's"
            " (models:/... or runs:/...)"
        )
    return TrackingConfig(uri=uri)


class _Command:
    """One sub-command's parser, filled step by step."""

    def __init__(self, parser: argparse.ArgumentParser, drawings: str) -> None:
        self._parser, self._add = parser, parser.add_argument
        if drawings:
            nargs = int(drawings) if drawings.isdigit() else drawings
            self._add("drawings", nargs=nargs, metavar="DRAWING", help=_DRAWING)
            text = "bring the larger side of each drawing to so many; a whole one of Quick, Draw!"
            self._add("--size", type=_positive, metavar="PIXELS", help=f"{text} has 255")
            text = "leave out points of a drawing that is too long for the model"
            self._add("--simplify", action="store_true", help=text)

    def common(self, num: int, temperature: float) -> _Command:
        """Options of every operation."""
        self._add("--model", required=True, metavar="MODEL", help=MODEL_HELP)
        text = "manifest of the data that drawings are of; by default that of the model's training"
        self._add("--data", type=Path, metavar="MANIFEST", help=text)
        self._add("--tracking-uri", metavar="URI", help=STORE_HELP)
        self.number("--num", _whole(1, MAX_DRAWINGS), num, "how many drawings, or steps of a path")
        text = "low is safe, 1 is the model's own distribution"
        self.number("--temperature", _temperature, temperature, text)
        self.number("--seed", _whole(0, 2**63 - 1), None, "by default one is drawn, and said")
        text = "file to write: .svg, .png, .ndjson or .npz; may be repeated"
        self._add("--out", type=Path, action="append", required=True, metavar="FILE", help=text)
        self._add("--animate", action="store_true", help="let SVG files draw themselves")
        self.number("--cell-size", _whole(16, 2048), 160, "side of a drawing in pictures, pixels")
        return self

    def category(self) -> _Command:
        """What a model with model.condition=category is told."""
        text = "what the model is told, if it is; by default what the drawing is of"
        self._add("--category", metavar="NAME", help=text)
        return self

    def categories(self, text: str) -> None:
        """The same, several."""
        text = f"{text}; may be repeated"
        self._add("--category", action="append", default=[], metavar="NAME", help=text)

    def beginning(self) -> None:
        """How much of a drawing is given, and what z is then."""
        group = self._parser.add_mutually_exclusive_group()
        for name in ("--points", "--strokes"):
            text = "only the first of them are given"
            group.add_argument(name, type=_whole(1), metavar="N", help=text)
        text = "latent vector: of the part given (the default), or from N(0, I)"
        self._add("--z", choices=["given", "prior"], help=text)

    def choice(self, name: str, choices: list[str], text: str) -> None:
        """The first is the default."""
        text = f"{text} ({choices[0]})"
        self._add(name, choices=choices, default=choices[0], help=text)

    def number(
        self, name: str, kind: Callable[[str], float], default: float | None, text: str
    ) -> None:
        """With bounds, which `kind` checks."""
        text = text if default is None else f"{text} ({default:g})"
        self._add(name, type=kind, default=default, metavar="N", help=text)


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        upper = "" if high is None else f" and at most {high}"
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(
                f"{text} must be a whole number of at least {low}{upper}"
            )
        return value

    return parse


def _number(text: str, low: float, high: float, bounds: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} must be a number {bounds}")
    return value


def _fraction(text: str) -> float:
    return _number(text, 0.0, 1.0, "from 0 to 1")


def _temperature(text: str) -> float:
    bounds = f"from 0.001, which draws what is likeliest, to {MAX_TEMPERATURE:g}"
    return _number(text, 0.001, MAX_TEMPERATURE, bounds)


def _positive(text: str) -> float:
    return _number(text, 1.0, 1000.0, "of pixels from 1 to 1000")
