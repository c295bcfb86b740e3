"""A trial's values as a command that trains it in full, and as an experiment of its own."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.atomic import replacing_file
from pipeline.config import UserError
from pipeline.search.outcome import Trial

OUTCOME_NAME = "outcome.json"
"""In a search's results: what promoting one of its trials takes."""
_NO_WORDS = ("true", "false", "null", "nan", "inf", "yes", "no", "on", "off")
"""Which Hydra, or YAML, reads as something else."""


def overrides_for_training(arguments: Iterable[str], searched: Iterable[str]) -> list[str]:
    """Of a search's command line, those that its winner's training needs too."""
    fields = set(searched)
    return [
        argument
        for argument in arguments
        if not argument.lstrip("+~").startswith(("search=", "search."))
        and argument.lstrip("+").partition("=")[0] not in fields
    ]


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """`{"loss.w_KL": 0.5}` as `["loss.w_KL=0.5"]`."""
    return [f"{path}={_as_hydra_reads(value)}" for path, value in values.items()]


def _as_hydra_reads(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_./][\w./:-]*", value) and value.lower() not in _NO_WORDS:
        return value
    return "'" + value.replace("'", r"\'") + "'"


def training_command(base: Sequence[str], values: Mapping[str, Any]) -> str:
    """What trains a trial's model for all steps of the experiment."""
    return shlex.join(["python", "-m", "pipeline.train", *base, *overrides_of(values)])


def write_outcome(
    folder: Path,
    trials: Sequence[Trial],
    winner: Trial | None,
    base: Sequence[str],
    categories: Sequence[str],
) -> None:
    """Writes what `write_experiment` reads."""
    content = {
        "overrides": list(base),
        "categories": list(categories),
        "winner": None if winner is None else winner.number,
        "trials": {t.number: {"values": t.values, "figures": t.figures} for t in trials},
    }
    with replacing_file(folder / OUTCOME_NAME) as path:
        path.write_text(json.dumps(content, indent=1) + "\n")


def write_experiment(search: Path, path: Path, number: int | None) -> dict[str, Any]:
    """Writes a trial of a search, or its winner, as an experiment that inherits from the search's.

    Args:
        search: folder of the search's results.
        path: conf/experiment/NAME.yaml.
        number: of the trial; None is the winner.

    Returns:
        The trial's values.

    Raises:
        UserError: if there is no such search or trial, or the experiment is there already.
    """
    outcome = _read(search)
    number = outcome["winner"] if number is None else number
    if str(number) not in outcome["trials"]:
        raise UserError(
            f"{search} has no trial {number}: there are {', '.join(outcome['trials']) or 'none'}"
        )
    if path.exists():
        raise UserError(f"{path} is there already: choose another name, or remove it")
    trial = outcome["trials"][str(number)]
    content = _experiment(path.stem, outcome, trial["values"])
    found = ", ".join(f"{name} {value:.4g}" for name, value in trial["figures"].items())
    with replacing_file(path) as writing:
        writing.write_text(
            f"# @package _global_\n# Trial {number} of {search}: {found}.\n"
            f"# command   python -m pipeline.train +experiment={path.stem}\n"
            + yaml.safe_dump(content, sort_keys=False)
        )
    return dict(trial["values"])


def _read(search: Path) -> dict[str, Any]:
    path = search / OUTCOME_NAME
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): give the folder that `python -m pipeline.search` has"
            " written its results to"
        ) from error
    return dict(content)


def _experiment(name: str, outcome: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What Hydra composes to the same config, under another name.

    The categories are stated although they are inherited: dvc.yaml's stages ask for them.
    """
    defaults: list[Any] = ["_self_"]
    content: dict[str, Any] = {"name": name, "categories": outcome["categories"]}
    for override in outcome["overrides"]:
        key, _, value = override.lstrip("+").partition("=")
        if key == "experiment":
            defaults.insert(0, value)
        elif (Path(__file__).parents[2] / "conf" / key).is_dir():
            defaults.append({f"override /{key}": value})
        elif key not in ("name", "categories"):
            _put(content, key, yaml.safe_load(value))
    for path, value in values.items():
        _put(content, path, value)
    return {"defaults": defaults} | content


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    content[key] = value
