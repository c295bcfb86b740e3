"""A small network that names what is drawn, and the folder that it is kept in."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from pipeline.atomic import replacing_folder
from pipeline.config import UserError
from pipeline.quality.pixels import SIZE
from sketch_model.annotations import Float, Int, Tensor

FORMAT_VERSION: Final = 1
WEIGHTS_NAME: Final = "weights.safetensors"
FACTS_NAME: Final = "recogniser.json"
EMBEDDING_SIZE: Final = 32

_CHANNELS = (16, 32, 64)
_DROPOUT = 0.2
_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class RecogniserFacts:
    """What a recogniser knows, and of what it has learnt it."""

    categories: list[str]
    data_fingerprint: str
    """Of the manifest of its drawings."""
    generated: bool
    """Whether a program drew them, not people."""
    ingest: dict[str, Any]
    """The ingest config of its drawings: it says which are test drawings."""
    training: dict[str, int]
    """Steps, drawings per category and seed."""
    accuracy: float
    """On drawings of the test split."""
    accuracy_by_category: dict[str, float]
    format_version: int = FORMAT_VERSION


class Recogniser(nn.Module):
    """Three convolutions, each halving the picture, and two layers above them.

    Attributes:
        features: where which lines are. Copies lie close to each other here.
        embedding: what the picture is of, in a few numbers that the last layer reads, before they
            are rectified. Drawings of a kind lie close to each other here, copies no closer.
        output: logits of the categories.
    """

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        widths = (1, *_CHANNELS)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        side = SIZE >> len(_CHANNELS)
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.embedding = nn.Linear(_CHANNELS[-1] * side * side, EMBEDDING_SIZE)
        self.output = nn.Sequential(
            nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(EMBEDDING_SIZE, num_categories)
        )
        # 1.3 times as fast on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Int[Tensor, "batch SIZE SIZE"]) -> Float[Tensor, "batch categories"]:
        """Logits of the categories."""
        logits: Tensor = self.output(self.embedding(self.look(pixels)))
        return logits

    def look(self, pixels: Int[Tensor, "batch SIZE SIZE"]) -> Float[Tensor, "batch features"]:
        """Features of pictures."""
        scaled = pixels[:, None].to(torch.float32, memory_format=torch.channels_last) / 255
        features: Tensor = self.features(scaled)
        return features


@dataclass(frozen=True)
class Judgement:
    """What a recogniser says of some drawings.

    Attributes:
        features: as `Recogniser` has them.
        embedding: likewise.
        category: index of the likeliest; -1 for an empty picture, in which there is nothing to
            recognise.
    """

    features: Float[Tensor, "batch features"]
    embedding: Float[Tensor, "batch embedding"]
    category: Int[Tensor, " batch"]


@torch.inference_mode()
def judge(network: Recogniser, pixels: Int[Tensor, "batch SIZE SIZE"]) -> Judgement:
    """Looks at any number of pictures, at least one."""
    network.eval()
    features = torch.cat([network.look(chunk) for chunk in torch.split(pixels, _BATCH)])
    embedding = network.embedding(features)
    category = network.output(embedding).argmax(dim=1)
    is_empty = pixels.flatten(1).amax(dim=1) == 0
    return Judgement(features, embedding, category.masked_fill(is_empty, -1))


def save(network: Recogniser, facts: RecogniserFacts, folder: Path) -> None:
    """Writes the folder whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with replacing_folder(folder) as writing:
        (writing / WEIGHTS_NAME).write_bytes(to_bytes(tensors))
        (writing / FACTS_NAME).write_text(json.dumps(asdict(facts), indent=1) + "\n")


def load(folder: Path) -> tuple[Recogniser, RecogniserFacts]:
    """Reads what `save` wrote.

    Raises:
        FileNotFoundError: if there is no recogniser.
        UserError: if it is damaged or of another version.
    """
    text = (folder / FACTS_NAME).read_bytes()
    try:
        content = json.loads(text)
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"it has format_version {content['format_version']}, this program reads"
                f" {FORMAT_VERSION}"
            )
        facts = RecogniserFacts(**content)
        network = Recogniser(len(facts.categories))
        network.load_state_dict(load_file(folder / WEIGHTS_NAME))
    except Exception as error:  # safetensors raises its own class for whatever is wrong
        raise UserError(
            f"{folder} holds no recogniser that can be read: {error}; run"
            " `python -m pipeline.quality +experiment=recogniser` to make another"
        ) from error
    return network.eval(), facts


def fingerprint_of(folder: Path) -> str:
    """SHA-256 over both files: figures compare where it is the same, and only there."""
    digest = hashlib.sha256()
    for name in (FACTS_NAME, WEIGHTS_NAME):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
