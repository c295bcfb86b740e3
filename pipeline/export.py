"""`python -m pipeline.export FORMAT --model MODEL --out PATH`: a model for other programs.

It is about a model, whatever made it, so its options are its own and not those of an experiment.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import UserError, ending_at_user_errors
from pipeline.drawing.arguments import MODEL_HELP, STORE_HELP, read_store
from pipeline.importing import importing


def export(arguments: argparse.Namespace) -> Iterator[str]:
    """Reads the model, writes it and checks what was written; says what it does.

    Raises:
        UserError: if the output is there already, the model cannot be read, the format cannot hold
            it, what was written is not the model, or it cannot be written.
    """
    out: Path = arguments.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already: remove it, or choose another --out")

    tracking = read_store(arguments.tracking_uri, [arguments.model])

    with importing():  # torch: not needed to print --help
        from pipeline.drawing.models import load_model
        from pipeline.exporting import formats
        from pipeline.exporting.card import CardOptions
        from pipeline.exporting.subject import make_subject

    found, check = load_model(arguments.model, tracking), arguments.check
    subject = make_subject(arguments.model, found.model, found.folder)
    match arguments.format:
        case "google":
            yield from formats.write_google(subject, out, check=check)
        case "onnx":
            yield from formats.write_onnx(subject, out, check=check)
        case "safetensors":
            options = CardOptions(
                title=arguments.title,
                licence=arguments.license,
                is_quickdraw=arguments.quickdraw,
            )
            yield from formats.write_safetensors(subject, out, options, check=check)
    yield f"written   {out}"


def main() -> None:
    """The command."""
    with ending_at_user_errors():
        for line in export(_parser().parse_args()):
            print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    shared.add_argument("--tracking-uri", metavar="URI", help=STORE_HELP)
    shared.add_argument("--out", type=Path, required=True, help="what to write; must not be there")
    shared.add_argument(
        "--check",
        action="store_true",
        help="read it back and compare it with the model; what fails is not kept",
    )
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.export", description="Writes a model for other programs."
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    formats.add_parser(
        "google",
        parents=[shared],
        help="a JSON file for @magenta/sketch in browsers: decoder-only LSTMs with M = 20",
    )
    formats.add_parser(
        "onnx", parents=[shared], help="a folder of graphs: the encoder, and a step of the decoder"
    )
    folder = formats.add_parser(
        "safetensors",
        parents=[shared],
        help="a folder of weights, config and model card, as for Hugging Face's hub",
    )
    folder.add_argument("--title", default="", help="of the card; by default the categories")
    folder.add_argument(
        "--license",
        default="",
        metavar="ID",
        help="of the weights, as the hub names it; by default that of drawings that are known",
    )
    folder.add_argument(
        "--quickdraw",
        action="store_true",
        help="the drawings of source=local are Quick, Draw!'s: attribute them",
    )
    return parser


if __name__ == "__main__":
    main()
