"""What a recogniser says of a model: figures of what it draws, beside those of what people draw.

The test split is cut into two halves at random. One is the reference; the other is what figures
of a model can hope for. Reconstructions are of that half, and samples are as many, so that all
figures are of equally many drawings and compare with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import Config, QualityConfig, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.manifest import Manifest
from pipeline.permutation import derive_key, permute
from pipeline.quality.distances import frechet_distance, mean_pairwise_distance, nearest
from pipeline.quality.pixels import rasterize
from pipeline.quality.recogniser import (
    Judgement,
    Recogniser,
    RecogniserFacts,
    fingerprint_of,
    judge,
    load,
)
from sketch_model.annotations import Float, Int, Tensor
from sketch_model.config import Condition, ModelConfig
from sketch_model.model import SketchRNN

LEFT_OUT: Final = "left_out"
"""Instead of any figure: why there is none."""
CHARTS: Final = (
    "recognised",
    "recognised_as_any",
    "diversity",
    "frechet",
    "nearest_median",
    "near",
)
"""Figures of each set of drawings that are single numbers."""

_HALVES, _NEIGHBOURS = 5, 6
_NEAR_QUANTILE = 0.05
_SIZES = (1, 2, 4)
"""Shares of the drawings, inverted, that Frechet distances are of: fewer are further apart."""
_NUM_NEAREST = 8
Sketch = NDArray[Any]


@dataclass(frozen=True)
class Halves:
    """Test drawings.

    Attributes:
        reference: that every figure compares with.
        others: that people's figures are of; as many.
        categories: names of the others'.
    """

    reference: list[Sketch]
    others: list[Sketch]
    categories: list[str]


def cut_in_halves(test: ShardedSketches, most: int, seed: int) -> Halves:
    """At most so many drawings in each half, chosen by `seed`."""
    num = min(most, len(test) // 2)
    rows = permute(np.arange(2 * num), len(test), key=derive_key(seed, _HALVES))
    others = test.gather(rows[num:])
    names = test.manifest.categories
    return Halves(
        test.gather(rows[:num]).sketches(),
        others.sketches(),
        [names[index] for index in others.categories],
    )


class NoRecogniser(UserError):
    """Nothing can judge the drawings of a run."""


def find_recogniser(config: Config, test: ShardedSketches) -> tuple[Recogniser, RecogniserFacts]:
    """What judges a model of this config by these drawings.

    Raises:
        NoRecogniser: if there is none, or it cannot; says why, and how to get one.
        UserError: if it is damaged.
    """
    folder = config.recogniser_dir
    try:
        network, facts = load(folder)
    except FileNotFoundError:
        raise NoRecogniser(f"there is no recogniser in {folder}: {_commands(config)}") from None
    if reason := _obstacle(facts, config, test):
        raise NoRecogniser(f"the recogniser in {folder} {reason}")
    return network, facts


def quality_of(model: SketchRNN, config: Config, test: ShardedSketches) -> dict[str, Any]:
    """Figures for metrics.json; without a recogniser that can give them, why there are none.

    Args:
        model: of the config.
        config: of the run.
        test: the split that the model is compared with; not the one that it was trained on.

    Raises:
        UserError: if the recogniser is damaged.
    """
    try:
        network, facts = find_recogniser(config, test)
    except NoRecogniser as reason:
        return {LEFT_OUT: str(reason)}
    recogniser = {
        "fingerprint": fingerprint_of(config.recogniser_dir),
        "categories": facts.categories,
        "accuracy": facts.accuracy,
    }
    train = ShardedSketches(config.manifest_path, "train", config.cache)
    halves = cut_in_halves(test, config.quality.num_drawings, config.train.seed)
    assessor = Assessor(network, facts, model, config.quality, config.train.seed)
    return {"recogniser": recogniser} | assessor.assess(halves, train)


def sample_like(
    model: SketchRNN, categories: Sequence[str], temperature: float, seed: int
) -> list[Sketch]:
    """As many samples as there are names; of these categories, if the model is told."""
    told = categories if model.config.condition is Condition.category else None
    return list(model.sample(len(categories), temperature=temperature, category=told, seed=seed))


@dataclass(frozen=True)
class Assessor:
    """What figures are made with."""

    network: Recogniser
    facts: RecogniserFacts
    model: SketchRNN
    config: QualityConfig
    seed: int

    def assess(self, halves: Halves, train: ShardedSketches) -> dict[str, Any]:
        """Figures of people's drawings, of reconstructions and of samples.

        Args:
            halves: of the test split.
            train: what the model was trained on.
        """
        num_known = min(self.config.num_neighbours, len(train))
        key = derive_key(self.seed, _NEIGHBOURS)
        rows = permute(np.arange(num_known), len(train), key=key)
        known = self._judge(train.gather(rows).sketches()).features
        reference = self._judge(halves.reference).embedding
        people = self._judge(halves.others)
        to_known, _ = nearest(people.features, known)
        compare = Comparison(reference, known, float(to_known.quantile(_NEAR_QUANTILE)))

        knows = _knows_what_it_samples(self.model.config, self.model.data.categories)
        told = halves.categories if knows else None
        shown = sorted(self.config.temperatures)[len(self.config.temperatures) // 2]
        samples, reconstructions = {}, {}
        for temperature in self.config.temperatures:
            drawn = self._judge(sample_like(self.model, halves.categories, temperature, self.seed))
            samples[str(temperature)] = compare.figures(drawn) | self._recognised(drawn, told)
            if temperature == shown:
                pairs = _nearest_pairs(drawn, known, rows)
            if self.model.config.conditional:
                drawn = self._judge(self._reconstruct(halves, temperature))
                reconstructions[str(temperature)] = compare.figures(drawn) | self._recognised(
                    drawn, halves.categories
                )
        return {
            "seed": self.seed,
            "num_drawings": len(halves.others),
            "num_neighbours": num_known,
            "num_train": len(train),
            "people": compare.figures(people) | self._recognised(people, halves.categories),
            "reconstructions": reconstructions,
            "samples": samples,
            "nearest_samples": {"temperature": shown} | pairs,
        }

    def _judge(self, sketches: list[Sketch]) -> Judgement:
        return judge(self.network, rasterize(sketches))

    def _reconstruct(self, halves: Halves, temperature: float) -> list[Sketch]:
        is_told = self.model.config.condition is Condition.category
        return list(
            self.model.reconstruct(
                halves.others,
                temperature=temperature,
                category=halves.categories if is_told else None,
                seed=self.seed,
            )
        )

    def _recognised(
        self, drawn: Judgement, categories: Sequence[str] | None
    ) -> dict[str, float | None]:
        """Shares recognised as what they should be, and as any of the run's categories."""
        number = self.facts.categories.index
        own = torch.tensor([number(name) for name in self.model.data.categories])
        shares: dict[str, float | None] = {
            "recognised": None,
            "recognised_as_any": _share(torch.isin(drawn.category, own)),
        }
        if categories is not None:
            expected = torch.tensor([number(name) for name in categories])
            shares["recognised"] = _share(drawn.category == expected)
        return shares


@dataclass(frozen=True)
class Comparison:
    """What sets of drawings are compared with."""

    reference: Float[Tensor, "num embedding"]
    known: Float[Tensor, "train features"]
    """Training drawings."""
    near: float
    """Distance to the nearest of them that one in twenty of people's new drawings is within."""

    def figures(self, drawn: Judgement) -> dict[str, Any]:
        """Of as many drawings as the reference has."""
        embedding = drawn.embedding
        distances, _ = nearest(drawn.features, self.known)
        by_num = {
            num: frechet_distance(embedding[:num], self.reference[:num])
            for num in (len(embedding) // share for share in _SIZES)
            if num >= 2  # of one, there is no variance
        }
        low, median, high = distances.quantile(torch.tensor([_NEAR_QUANTILE, 0.5, 0.95])).tolist()
        return {
            "diversity": mean_pairwise_distance(embedding),
            "frechet": by_num[len(embedding)],
            "frechet_by_num": {str(num): distance for num, distance in by_num.items()},
            "nearest_median": median,
            "nearest_quantiles": [low, median, high],
            "near": _share(distances < self.near),
        }


def tracked(quality: Mapping[str, Any]) -> dict[str, float]:
    """What is worth a chart; metrics.json has the rest."""
    return {
        f"quality/{name.replace(' ', '_')}/{chart}": figures[chart]
        for name, figures in sets_of(quality)
        for chart in CHARTS
        if figures[chart] is not None
    }


def chart_names(config: Config, categories: Sequence[str]) -> list[str]:
    """Names of what `tracked` has of a model of this config: of people's drawings, nothing is."""
    kinds = ["reconstructions", "samples"] if config.model.conditional else ["samples"]
    return [
        f"quality/{kind}_{temperature}/{chart}"
        for kind in kinds
        for temperature in config.quality.temperatures
        for chart in CHARTS
        if (kind, chart) != ("samples", "recognised")
        or _knows_what_it_samples(config.model, categories)
    ]


def tags_of(quality: Mapping[str, Any]) -> dict[str, str]:
    """Whose figures they are: those of another recogniser do not compare."""
    return {} if LEFT_OUT in quality else {"recogniser": quality["recogniser"]["fingerprint"]}


def summarise(quality: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people."""
    if LEFT_OUT in quality:
        yield f"quality   left out: {quality[LEFT_OUT]}"
        return
    fingerprint = quality["recogniser"]["fingerprint"][:12]
    yield f"quality   {quality['num_drawings']} drawings each, judged by recogniser {fingerprint}:"
    yield f"{'':21} recognised  diversity    frechet       near"
    for name, figures in sets_of(quality):
        recognised = figures["recognised"]
        share = figures["recognised_as_any"] if recognised is None else recognised
        yield (
            f"  {name:19} {share:10.1%} {figures['diversity']:10.2f} {figures['frechet']:10.2f}"
            f" {figures['near']:10.1%}"
        )


def nearest_samples(
    model: SketchRNN, quality: Mapping[str, Any], test: ShardedSketches, train: ShardedSketches
) -> tuple[list[Sketch], list[Sketch]]:
    """The samples that come nearest to a training drawing, drawn again, and those drawings."""
    pairs = quality["nearest_samples"]
    halves = cut_in_halves(test, quality["num_drawings"], quality["seed"])
    drawn = sample_like(model, halves.categories, pairs["temperature"], quality["seed"])
    rows = np.array(pairs["train_rows"], dtype=np.int64)
    return [drawn[index] for index in pairs["samples"]], train.gather(rows).sketches()


def sets_of(quality: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and figures of the sets of drawings: none if the figures are left out."""
    if LEFT_OUT in quality:
        return
    yield "people", quality["people"]
    for kind in ("reconstructions", "samples"):
        for temperature, figures in quality[kind].items():
            yield f"{kind} {temperature}", figures


def _knows_what_it_samples(model: ModelConfig, categories: Sequence[str]) -> bool:
    return model.condition is Condition.category or len(categories) == 1


def _nearest_pairs(
    drawn: Judgement, known: Float[Tensor, "train features"], rows: NDArray[np.int64]
) -> dict[str, list[Any]]:
    """Those samples that come nearest to a training drawing, and the drawings' rows."""
    distances, indices = nearest(drawn.features, known)
    distances[drawn.category == -1] = torch.inf  # empty: there is nothing to compare
    order = distances.argsort()[:_NUM_NEAREST]
    order = order[distances[order].isfinite()]
    return {
        "samples": order.tolist(),
        "train_rows": rows[indices[order].numpy()].tolist(),
        "distances": distances[order].tolist(),
    }


def _obstacle(facts: RecogniserFacts, config: Config, test: ShardedSketches) -> str:
    """Why this recogniser cannot judge this run; empty if it can."""
    manifest: Manifest = test.manifest
    unknown = [name for name in manifest.categories if name not in facts.categories]
    if unknown:
        categories = ",".join([*facts.categories, *unknown])
        return (
            f"does not know {', '.join(unknown)}: {_commands(config)}, each with"
            f" 'categories=[{categories}]'"
        )
    if facts.generated != manifest.generated:
        kinds = {True: "generated drawings", False: "drawings by people"}
        return f"knows {kinds[facts.generated]}, and these are {kinds[manifest.generated]}"
    differences = [
        f"{field} is {facts.ingest.get(field)} there and {value} here"
        for field, value in manifest.ingest.items()
        if facts.ingest.get(field) != value
    ]
    if differences:
        return (
            "was trained on drawings of another ingest, so that these test drawings may be among"
            f" them: ingest.{'; ingest.'.join(differences)}. With these values, {_commands(config)}"
        )
    if len(test) < 4:
        return f"has too little to compare: {len(test)} {test.split} drawings, and it takes 4"
    return ""


def _commands(config: Config) -> str:
    choice = f"+experiment=recogniser source={config.source.name}"
    return (
        "to have one, run `python -m pipeline.ingest`, `python -m pipeline.prepare` and"
        f" `python -m pipeline.quality`, each with `{choice}`"
    )


def _share(chosen: Int[Tensor, " num"]) -> float:
    return float(chosen.double().mean())
