"""The values that a search tries: read from the config, and checked before any trial begins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import NOT_IDENTITY, Algorithm, Config, UserError
from pipeline.entry import OF_AN_ENCODER
from pipeline.loading import with_values

_SEARCHED = ("model", "loss", "train")
_BOUNDS = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[Any, ...]

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values that are valid in a config if all are."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is of integers."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step) if v is not None)

    @property
    def probes(self) -> tuple[Any, ...]:
        """As of a choice."""
        return (self.low, self.high)

    @property
    def values(self) -> tuple[Any, ...]:
        """All of them, if it has a step."""
        assert self.step is not None
        num = math.floor((self.high - self.low) / self.step * (1 + 1e-9)) + 1
        return tuple(self.low + index * self.step for index in range(num))


Domain = Choice | Range
Space = dict[str, Domain]
"""By field, as `{"loss.w_KL": Range(0.1, 2.0, log=True)}`."""


def read_space(config: Config) -> Space:
    """The space of a config, each of whose values the config can take.

    Raises:
        UserError: naming the field, and what is wrong with it or its values.
    """
    space = dict(_domains(config.search.space))
    if not space:
        raise UserError(
            "search.space is empty: choose a file of conf/search with +search=NAME, or give"
            " '+search.space.loss.w_KL=[0.25,0.5,1.0]'"
        )
    for path, domain in space.items():
        _check_field(path, config)
        for value in domain.probes:
            try:
                with_values(config, {path: value})
            except UserError as error:
                raise UserError(f"search.space: {error}") from error
        if config.search.algorithm is Algorithm.grid and _is_open(domain):
            raise UserError(
                f"search.space.{path} has no end of values, and search.algorithm=grid tries all:"
                " give a list, or a step beside low and high, or use random or optuna"
            )
    return space


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination."""
    columns = [domain.values for domain in space.values()]
    return [dict(zip(space, row, strict=True)) for row in itertools.product(*columns)]


def _is_open(domain: Domain) -> bool:
    return isinstance(domain, Range) and domain.step is None


def _domains(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Domain]]:
    for key, content in node.items():
        path = f"{prefix}{key}"
        if isinstance(content, list):
            yield path, _choice(path, content)
        elif isinstance(content, dict) and content and content.keys() <= _BOUNDS:
            yield path, _range(path, content)
        elif isinstance(content, dict):
            yield from _domains(content, f"{path}.")
        else:
            raise UserError(
                f"search.space.{path}={content!r} is one value: give a list to choose from, or"
                " {low: , high: } with log: true or step: if wanted"
            )


def _choice(path: str, values: list[Any]) -> Choice:
    if not values or any(values.count(value) > 1 for value in values):
        raise UserError(f"search.space.{path}={values} must list at least one value, each once")
    if any(isinstance(value, (list, dict)) for value in values):
        raise UserError(f"search.space.{path}={values} must list single values, not lists of them")
    return Choice(tuple(values))


def _range(path: str, bounds: dict[str, Any]) -> Range:
    where = f"search.space.{path}={bounds}"
    missing = {"low", "high"} - bounds.keys()
    if missing:
        raise UserError(f"{where} is without {' and '.join(sorted(missing))}")
    numbers = [bounds[key] for key in ("low", "high", "step") if bounds.get(key) is not None]
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
        raise UserError(f"{where} must have numbers for low, high and step")
    if not all(map(math.isfinite, numbers)) or bounds["low"] >= bounds["high"]:
        raise UserError(f"{where} must have low below high, both finite")
    found = Range(bounds["low"], bounds["high"], bool(bounds.get("log")), bounds.get("step"))
    if found.log and found.low <= 0:
        raise UserError(f"{where} must have low above 0: log is of positive numbers")
    if found.log and found.step is not None:
        raise UserError(f"{where} can be log or have a step, not both")
    if found.step is not None and not 0 < found.step <= found.high - found.low:
        raise UserError(f"{where} must have a step above 0 and at most high - low")
    return found


def _check_field(path: str, config: Config) -> None:
    group, _, name = path.partition(".")
    if group not in _SEARCHED:
        raise UserError(
            f"search.space.{path} is not searched: only fields of {', '.join(_SEARCHED)} make"
            " another model of the same drawings"
        )
    if group == "train" and name in NOT_IDENTITY:
        raise UserError(
            f"search.space.{path} is not searched: it says how far or how fast a run goes, not"
            " what it computes"
        )
    if not config.model.conditional and path.startswith(OF_AN_ENCODER):
        raise UserError(
            f"search.space.{path} is not read: model.conditional=false has no encoder and no"
            " latent vector"
        )
