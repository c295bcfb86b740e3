"""Whether the fast way of training learns as much: validation L_R after as many sketches.

    python -m benchmarks.curves [--steps 1000] [--folder runs/curves] [--csv FILE] [--plot FILE.png]

Trains on cats and on suns, from $QUICKDRAW_ROOT if it is set and else on doodles, with
`pipeline.training` as it is, on one thread: plainly (all lengths mixed, all rows to N_max, in fp32)
and fast (as training has its batches, in bf16), from the same seed; and fast from another seed,
which tells how much is chance.
The model is that of conf/model/small.yaml (encoder 2 x 128, decoder 256, N_z 64), the validation in
the precision of the training. A run that was interrupted goes on when the command is repeated, and
with more --steps a finished one does; each writes its curve as it goes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import shards, timing
from pipeline.config import (
    Config,
    LossConfig,
    Precision,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
)
from pipeline.training.fit import fit
from sketch_model.config import ModelConfig

WORDS = ("cat", "sun")
SMALL = ModelConfig(encoder_size=128, decoder_size=256, N_z=64)
LOSS = LossConfig(w_KL=0.25, R=0.9995)
VARIANTS = {
    "plain": {"pool": 1, "pad_every": 1, "precision": Precision.fp32, "seed": 0},
    "fast": {"precision": Precision.bf16, "seed": 0},
    "fast, another seed": {"precision": Precision.bf16, "seed": 1},
}
FIGURES = ("L_R", "L_s", "L_p", "L_KL")
BATCH_SIZE = 50
VALIDATE_EVERY = 100


def train(data: Config, folder: Path, variant: str, num_steps: int, model: ModelConfig) -> Path:
    """Trains one variant, or goes on with it; its curves.csv."""
    settings = TrainConfig(
        batch_size=BATCH_SIZE,
        max_steps=num_steps,
        validate_every=min(VALIDATE_EVERY, num_steps),
        learning_rate=0.002,
        decay=0.9995,
        **VARIANTS[variant],
    )
    config = replace(
        data,
        model=model,
        loss=LOSS,
        train=settings,
        trainer=TrainerConfig(num_threads=1),
        tracking=TrackingConfig(enabled=False),
        runs_dir=str(folder / "runs" / variant.replace(", ", "-").replace(" ", "-")),
    )
    return fit(config).run.curves


def read_curve(path: Path, word: str, variant: str) -> list[dict[str, Any]]:
    """A line per validation."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "word": word,
            "variant": variant,
            "sketches": int(row["step"]) * BATCH_SIZE,
            **{name: float(row[f"valid/{name}"]) for name in FIGURES},
        }
        for row in rows
    ]


def train_all(
    folder: Path, num_steps: int, words: Sequence[str] = WORDS, model: ModelConfig = SMALL
) -> list[dict[str, Any]]:
    """The curves of all variants; the fast ones are trained first."""
    curves = []
    for word in words:
        data = shards.write_shards(folder / word, word)
        for variant in reversed(VARIANTS):
            timing.report(f"{word}, {variant}")
            path = train(data, folder / word, variant, num_steps, model)
            curves += read_curve(path, word, variant)
    return curves


def format_ends(curves: list[dict[str, Any]]) -> str:
    """The last validation of each, as a table in Markdown."""
    lines = [f"| | sketches | {' | '.join(FIGURES)} |", "|---|" + "---:|" * (1 + len(FIGURES))]
    last = {(row["word"], row["variant"]): row for row in curves}
    for (word, variant), row in last.items():
        values = " | ".join(f"{row[name]:.4f}" for name in FIGURES)
        lines.append(f"| {word}, {variant} | {row['sketches']:,} | {values} |")
    return "\n".join(lines)


def write_curves(curves: list[dict[str, Any]], path: Path) -> None:
    """All curves, one line per validation."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(curves[0]))
        writer.writeheader()
        writer.writerows(curves)


def plot(curves: list[dict[str, Any]], title: str, path: Path) -> None:
    """One panel per word."""
    from matplotlib.figure import Figure

    words = sorted({row["word"] for row in curves})
    figure = Figure(figsize=(5 * len(words), 4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for panel, word in zip(figure.subplots(1, len(words), squeeze=False)[0], words, strict=True):
        for variant in VARIANTS:
            rows = [row for row in curves if (row["word"], row["variant"]) == (word, variant)]
            panel.plot([r["sketches"] for r in rows], [r["L_R"] for r in rows], label=variant)
        panel.set(title=word, xlabel="sketches", ylabel="validation L_R")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints the table of the ends; writes curves and plot where it is told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("runs/curves"))
    parser.add_argument("--words", nargs="+", default=list(WORDS))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    curves = train_all(options.folder, options.steps, options.words)
    machine = timing.describe_machine()
    title = f"{shards.whose()}; small model; {machine['cpu']}, {machine['date']}"
    if options.csv:
        write_curves(curves, options.csv)
    if options.plot:
        plot(curves, title, options.plot)
    print(f"{title}\n\n{format_ends(curves)}")


if __name__ == "__main__":
    main()
