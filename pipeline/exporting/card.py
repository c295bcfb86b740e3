"""The model card: README.md with front matter, as Hugging Face's hub reads it.

It says what is recorded, leaves out what is not, and says that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.config import Source, UserError
from pipeline.exporting.recipe import command_lines, training_arguments
from pipeline.exporting.subject import Subject
from sketch_model import magenta
from sketch_model.config import Cell, Condition, ModelConfig

FIGURES: Final = {
    "L_R": "reconstruction loss: nats per drawing, divided by N_max (Ha & Eck 2017, eq. 9); minus"
    " the logarithm of a density, so it may be negative",
    "L_s": "the part of it that the pen's offsets make",
    "L_p": "the part of it that the pen's states make",
    "L_KL": "divergence of q(z \\| drawing) from the prior: nats per drawing, divided by N_z"
    " (eq. 10)",
    "L_R_masked": "L_R without the pen's states from the end of a drawing on",
    "bound_nats": "minus the log-likelihood, nats per drawing; with a latent vector, an upper bound"
    " of it",
    "nats_per_point": "the same per point, with offsets in drawing units: comparable between models"
    " of other scales",
}
_LICENCES: dict[str, str] = {Source.quickdraw: "cc-by-4.0", Source.doodles: "apache-2.0"}
_QUICKDRAW = "https://github.com/googlecreativelab/quickdraw-dataset"
_DATA_SETS: dict[str, str] = {
    Source.quickdraw: "google/quickdraw",
    magenta.GOOGLE: "google/quickdraw",
}
_NAMES: dict[str, str] = {Source.quickdraw: "Quick, Draw!", Source.doodles: "generated doodles"}
_MAX_CATEGORIES_NAMED = 6
_CELLS = {
    Cell.lstm: "an LSTM",
    Cell.layer_norm: "an LSTM with layer normalization",
    Cell.hyper: "a HyperLSTM",
}


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """What only the exporter knows.

    Attributes:
        title: heading, and name in the metadata; empty names the categories.
        licence: of the weights, as Hugging Face names it; empty takes that of known drawings.
        is_quickdraw: the drawings of a local folder are those of Quick, Draw!.
    """

    title: str = ""
    licence: str = ""
    is_quickdraw: bool = False


def write_card(subject: Subject, options: CardOptions) -> str:
    """The text of README.md.

    Raises:
        UserError: if `is_quickdraw` is said of drawings whose source is known.
    """
    source = subject.model.data.source
    if options.is_quickdraw:
        if source != Source.local:
            raise UserError(
                f"--quickdraw is for models of source=local, and this one's is {source}: leave it"
                " out"
            )
        source = Source.quickdraw
    licence = options.licence or _LICENCES.get(source, "")
    title = _plain(options.title) or _title(subject.model.data.categories)
    parts = [
        f"# {escape(title, quote=False)}",
        *_describe(subject),
        *_describe_use(subject.model.config),
        *_describe_data(subject, source),
        *_describe_licence(licence, options, source),
        *_describe_figures(subject),
        *_describe_training(subject),
        *_describe_limits(subject.model.config),
    ]
    return _front_matter(subject, title, source, licence) + "\n\n".join(parts) + "\n"


def _title(categories: tuple[str, ...]) -> str:
    if len(categories) > _MAX_CATEGORIES_NAMED:
        return f"Sketch-RNN of {len(categories)} categories"
    return f"Sketch-RNN of {', '.join(_plain(name) for name in categories)}"


def _front_matter(subject: Subject, title: str, source: str, licence: str) -> str:
    matter: dict[str, Any] = {"library_name": "sketch_model"}
    if licence:
        matter["license"] = licence
    matter["tags"] = ["sketch-rnn", "vector-drawing", "safetensors"]
    data_set = _DATA_SETS.get(source)
    if data_set:
        matter["datasets"] = [data_set]
    if figures := _figures(subject):
        matter["metrics"] = list(figures)
        result = {
            "task": {"type": "sketch-generation", "name": "Sketch generation"},
            "dataset": {
                "type": data_set or source,
                "name": _NAMES.get(source, source),
                "split": "test",
            },
            "metrics": [
                {"type": name, "name": name, "value": value} for name, value in figures.items()
            ],
        }
        matter["model-index"] = [{"name": title, "results": [result]}]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n\n"


def _describe(subject: Subject) -> Iterator[str]:
    config, data = subject.model.config, subject.model.data
    num = sum(tensor.numel() for tensor in subject.model.parameters())
    told = ", which is told the category" if config.condition is Condition.category else ""
    if config.conditional:
        kind = (
            "A variational autoencoder that reads a drawing, a sequence of pen movements, and draws"
            f" another. Encoder: {_CELLS[config.encoder_cell]} in both directions,"
            f" {config.encoder_size} units each; a latent vector of {config.N_z} numbers"
        )
    else:
        kind = "A decoder without encoder: it draws, and completes what was begun"
    yield (
        f"Sketch-RNN ([Ha & Eck 2017](https://arxiv.org/abs/1704.03477)). {kind}. Decoder:"
        f" {_CELLS[config.decoder_cell]} of {config.decoder_size} units{told}; a mixture of"
        f" {config.M} normal distributions over the next offset. {num:,} weights."
    )
    yield f"It draws {', '.join(_code(name) for name in data.categories)}."


def _describe_use(config: ModelConfig) -> Iterator[str]:
    told = ', category="..."' if config.condition is Condition.category else ""
    yield "## How to use it"
    yield (
        "```python\nimport sketch_model\n\n"
        'model = sketch_model.load("this folder")\n'
        f"drawings = model.sample(10, temperature=0.4{told})  # stroke-3 arrays, in drawing units\n"
        "```"
    )
    yield (
        "`model.safetensors` holds the weights, `config.json` the sizes and what the numbers mean."
        f" Written by sketch-rnn-pipeline {version('sketch-rnn-pipeline')}."
    )


def _describe_data(subject: Subject, source: str) -> Iterator[str]:
    data = subject.model.data
    yield "## Data"
    match source:
        case Source.quickdraw:
            yield (
                f"The [Quick, Draw! data set]({_QUICKDRAW}), made available by Google, Inc. under"
                " the [Creative Commons Attribution 4.0 International"
                " licence](https://creativecommons.org/licenses/by/4.0/). Players of a game drew"
                " these in 20 seconds or less. Changed: selected and divided into splits, and"
                " written as offsets between points."
            )
        case Source.doodles:
            yield (
                "Doodles, generated by a program (`pipeline.doodles`): nobody drew them, and no"
                " drawing of Quick, Draw! is among them."
            )
        case magenta.GOOGLE:
            yield (
                "Not trained here: one of the decoders that Google released for its browser demos"
                f" ([@magenta/sketch](https://www.npmjs.com/package/@magenta/sketch)), trained by"
                f" Google on drawings of [Quick, Draw!]({_QUICKDRAW}), with weights rounded to 16"
                " bits in its file."
            )
        case _:
            yield (
                "Drawings of a local folder. Whose they are and under which licence is not"
                " recorded; say it here before you publish this."
            )
    meaning = (
        "" if source == magenta.GOOGLE else ", their standard deviation over the training split"
    )
    yield (
        f"Offsets are divided by {data.offset_scale:.6g} drawing units{meaning}. The longest"
        f" drawing has {data.N_max} rows, end token included."
    )


def _describe_licence(licence: str, options: CardOptions, source: str) -> Iterator[str]:
    yield "## Licence"
    if options.licence:
        yield f"Weights: {_code(licence)}."
    elif licence:
        whose = "the drawings" if source == Source.quickdraw else "the program that drew the data"
        yield f"Weights: {_code(licence)}, that of {whose}."
    elif source == magenta.GOOGLE:
        yield "Weights: the file that they were read from carries no licence."
    else:
        yield "Weights: none was chosen."
    if source == Source.quickdraw:
        yield "Who passes this on has to name Google's Quick, Draw! data set as its source."


def _figures(subject: Subject) -> dict[str, float]:
    """Those of the test split that mean something for this kind of model."""
    metrics = subject.metrics or {}
    names = [name for name in FIGURES if isinstance(metrics.get(name), int | float)]
    if not subject.model.config.conditional:
        names = [name for name in names if name != "L_KL"]
    return {name: float(metrics[name]) for name in names}


def _describe_figures(subject: Subject) -> Iterator[str]:
    yield "## Figures"
    figures, metrics = _figures(subject), subject.metrics or {}
    if not figures:
        yield "This model was not scored on a test split, or its metrics.json is not beside it."
        return
    draws = (
        f", mean over {metrics['latent_samples']} draws of z each (L_KL is exact)"
        if subject.model.config.conditional and "latent_samples" in metrics
        else ""
    )
    num = f"{metrics['num_sketches']:,} drawings of the" if "num_sketches" in metrics else "The"
    yield f"{num} test split{draws}:"
    yield _table(
        ["figure", "value", "what it is"],
        [[_code(name), f"{value:.4f}", FIGURES[name]] for name, value in figures.items()],
    )
    by_category = metrics.get("by_category", {})
    if len(by_category) > 1:
        names = [
            name for name in ("num_sketches", *figures) if name in next(iter(by_category.values()))
        ]
        yield _table(
            ["category", *names],
            [
                [_code(category), *(f"{of[name]:.4g}" for name in names)]
                for category, of in by_category.items()
            ],
        )


def _describe_training(subject: Subject) -> Iterator[str]:
    yield "## Training"
    training = subject.training
    if training is None:
        yield "How it was trained is not recorded: there is no training.json beside the weights."
        return
    try:
        validation = training["validation"]["objective"]
        steps, best, config = training["num_steps"], training["best_step"], training["config"]
        run = Path(training["run_folder"])
    except (KeyError, TypeError) as error:
        raise UserError(f"training.json has no {error}: train again, or remove it") from error
    yield (
        f"{steps:,} optimizer steps; these are the weights of step {best:,}, whose objective on the"
        f" validation split, L_R + w_KL max(L_KL, KL_min), was the lowest: {validation:.4f}."
    )
    arguments, unknown = training_arguments(config)
    yield "Run these with the same arguments; the first two make the data:"
    lines = [
        "python -m pipeline.ingest  ARGUMENTS",
        "python -m pipeline.prepare ARGUMENTS",
        *command_lines("pipeline.train", arguments),
    ]
    yield "```sh\n" + "\n".join(lines) + "\n```"
    if unknown:
        yield f"Recorded, and unknown to this version: {', '.join(map(_code, unknown))}."
    if config.get("init_from"):
        yield "It began with the weights of another model, which are not recorded here."
    yield f"Fingerprint of the run (data, model, loss, optimizer, seed): {_code(run.name)}."
    if data := training.get("data_fingerprint"):
        yield f"Fingerprint of its data, as their manifest has it: {_code(str(data))}."
    else:
        yield "Which data exactly, their fingerprint, is not recorded: training.json is older."


def _describe_limits(config: ModelConfig) -> Iterator[str]:
    yield "## Intended use, and limits"
    made = (
        "drawing, redrawing, interpolating and completing"
        if config.conditional
        else ("drawing, and completing what was begun")
    )
    yield (
        f"For {made} simple line drawings of the categories above, in research, teaching and play."
        " It knows nothing but these: it draws whatever it is given as one of them. Samples vary in"
        " quality, more so at a high temperature. This card does not say how near they come to"
        " single training drawings, nor what they repeat of how people see things."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    """As a code span, in which nothing is markup."""
    return f"`{_plain(text).replace('`', chr(39)).replace('|', '/')}`"


def _plain(text: str) -> str:
    """On one line."""
    return " ".join(text.split())
