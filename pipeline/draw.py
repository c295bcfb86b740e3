"""`python -m pipeline.draw OPERATION --model MODEL ... --out FILE`: what a trained model is for.

Not a command of Hydra's, as the others are: it is about a model, wherever it comes from, and not
about an experiment, and its operations differ in their options.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from pipeline.config import UserError, ending_at_user_errors
from pipeline.drawing.arguments import make_parser, read_store
from pipeline.importing import importing

if TYPE_CHECKING:
    from pipeline.drawing.artist import Artist
    from pipeline.drawing.inputs import Given
    from pipeline.drawing.sheet import Sheet


def main() -> None:
    """Draws, and says what was drawn and where it is."""
    arguments = make_parser().parse_args()
    with ending_at_user_errors():
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    with importing():  # numpy: not needed to print --help
        from pipeline.drawing import outputs

    if arguments.animate and not any(path.suffix == ".svg" for path in arguments.out):
        raise UserError("--animate is of SVG files: add --out FILE.svg")
    for path in arguments.out:
        outputs.check_path(path)
    artist, given = _prepare(arguments)
    begin_s = time.perf_counter()
    sheet = _draw(artist, given, arguments)
    num, duration_s = len(list(sheet.drawn())), time.perf_counter() - begin_s
    print(f"{sheet.title}\n{num:,} drawings in {duration_s:.2f} s")
    if num_empty := sum(not len(tile.sketch) for tile in sheet.drawn()):
        print(f"note: {num_empty} of them are empty: the model ended before its first point")
    look = outputs.Look(arguments.cell_size, arguments.animate)
    for path in arguments.out:
        outputs.write_sheet(sheet, path, look)
        print(f"wrote {path} ({path.stat().st_size / 1e3:,.1f} kB)")


def _prepare(arguments: argparse.Namespace) -> tuple[Artist, list[Given]]:
    """The model, and the drawings it is given, as far as it can read them."""
    tracking = read_store(arguments.tracking_uri, [arguments.model])

    with importing():
        import torch

        from pipeline.drawing import fitting, inputs
        from pipeline.drawing.artist import Artist
        from pipeline.drawing.models import load_model

    found = load_model(arguments.model, tracking, arguments.data)
    names = getattr(arguments, "drawings", [])
    if arguments.data and not found.is_run and not any(map(inputs.is_stored, names)):
        raise UserError(
            "--data is not read: it is for drawings that are named id:KEY_ID or test:ROW, and for"
            " the folder of a run"
        )
    torch.set_flush_denormal(True)
    seed = arguments.seed
    if seed is None:
        seed = torch.seed() >> 1
    artist = Artist(found.model, arguments.model, arguments.temperature, seed)
    is_begun = arguments.operation == "complete"
    max_points = found.model.data.N_max - is_begun  # there is to be something left to draw
    given = []
    for name in names:
        drawing = inputs.read_drawing(name, arguments.data or found.manifest)
        if arguments.size:
            drawing = fitting.resize(drawing, arguments.size)
        if is_begun:
            drawing = fitting.begin(
                drawing, num_points=arguments.points, num_strokes=arguments.strokes
            )
        given.append(fitting.fit(drawing, max_points, may_simplify=arguments.simplify))
        for remark in given[-1].remarks:
            print(f"{name}: {remark}")
    return artist, given


def _draw(artist: Artist, given: list[Given], arguments: argparse.Namespace) -> Sheet:
    from pipeline.drawing import operations

    num = arguments.num
    match arguments.operation:
        case "sample":
            return operations.sample(artist, num, arguments.category)
        case "reconstruct":
            return operations.reconstruct(artist, given, num, arguments.category)
        case "vary":
            return operations.vary(artist, given, num, arguments.spread, arguments.category)
        case "cross":
            return operations.cross(artist, given, num, arguments.category)
        case "interpolate":
            return operations.interpolate(artist, given, num, arguments.path, arguments.category)
        case "analogy":
            return operations.analogy(artist, given, num, arguments.category)
    source = operations.Latent(arguments.z) if arguments.z else None
    return operations.complete(artist, given, num, source, arguments.category)


if __name__ == "__main__":
    main()
