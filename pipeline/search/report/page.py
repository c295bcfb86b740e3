"""What a search found, as one HTML page in the look of the gallery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.report.page import (
    Cell,
    Markup,
    absent,
    categories_of,
    credits_of,
    enumerate_names,
    footer,
    missing,
    page,
    picture,
    pictures,
    prose,
    section,
    source_of,
    table,
)
from pipeline.search.outcome import Goal, Status, Trial, comparable, find_winner, pareto_front
from pipeline.search.promotion import training_command
from pipeline.search.report import plots
from pipeline.search.report.front_drawings import drawings, spread
from pipeline.search.report.importance import Importance
from pipeline.search.report.terms import name_of, short, show, term_of
from pipeline.search.space import Choice, Domain, Space
from sketch_model.config import DataSpec

_NUM_BEST = 8
_ALSO_SHOWN = ("rate_nats", "distortion_nats", "bound_nats", "L_R", "L_KL")
_OBJECTIVE, _BOUND = "objective", "bound_nats"


@dataclass(frozen=True, kw_only=True)
class SearchFacts:
    """What the page says of a search and cannot read from its trials.

    Attributes:
        name: of the search and its experiment, the heading.
        space: what was searched.
        method: what chose the values, in words.
        num_steps: of a trial that is not stopped.
        num_steps_in_full: of the training that the commands start.
        overrides: that those commands begin with, as `["+experiment=multiclass"]`.
        data: what was trained on.
    """

    name: str
    space: Space
    method: str
    num_steps: int
    num_steps_in_full: int
    overrides: Sequence[str]
    data: DataSpec


def search_html(
    trials: Sequence[Trial],
    goal: Goal,
    *,
    facts: SearchFacts,
    importances: Sequence[Importance],
    sketches: Sequence[NDArray[Any]],
    categories: Sequence[str],
    seed: int = 0,
) -> str:
    """One document without external resources; the same arguments give the same page.

    Args:
        trials: of the search, whatever became of them.
        goal: what it looked for.
        facts: about the search.
        importances: of the fields, for each figure of the goal.
        sketches: stroke-3 drawings of the validation split in drawing units, a few.
        categories: theirs.
        seed: of what the models draw.
    """
    best = _best(trials, goal)
    winner = find_winner(trials, goal)
    drawn = drawings(spread(best, winner), goal.names, sketches, categories, seed=seed)
    sections = [
        _reached(trials, goal),
        _meaning(trials, goal, facts),
        _table_of_best(best, winner, goal, facts),
        drawn,
        _influence(importances),
        _all(trials, goal),
        _failures(trials),
        footer([*credits_of(facts.data, "Validation drawings"), *_small_print()]),
    ]
    return page(
        facts.name.replace("_", " "),
        eyebrow="Sketch-RNN search",
        lede=_lede(trials, goal, best, facts),
        facts=_facts(trials, winner, goal, facts),
        body=Markup("".join(sections)),
    )


def _best(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """The front; of one figure, the first few."""
    if len(goal.names) > 1:
        return pareto_front(trials, goal)
    ranked = sorted(comparable(trials, goal), key=lambda trial: goal.costs([trial])[0, 0])
    return ranked[:_NUM_BEST]


def _lede(trials: Sequence[Trial], goal: Goal, best: Sequence[Trial], facts: SearchFacts) -> str:
    names = enumerate_names([short(field) for field in facts.space])
    text = (
        f"{len(trials)} trainings of Sketch-RNN on {source_of(facts.data)} of"
        f" {categories_of(facts.data)}, which differ in {names}."
    )
    if not best:
        return f"{text} None of them has finished."
    if len(goal.names) == 1:
        (name,) = goal.names
        return f"{text} The best reached a {name_of(name)} of {_figure(best[0], name)}."
    figures = enumerate_names([name_of(name) for name in goal.names])
    return f"{text} {len(best)} of them are on the front of {figures}: no other one beats them."


def _facts(
    trials: Sequence[Trial], winner: Trial | None, goal: Goal, facts: SearchFacts
) -> dict[str, str]:
    searched = "; ".join(f"{short(field)}: {_span(what)}" for field, what in facts.space.items())
    sought = [f"small {name_of(name)}" for name in goal.minimize]
    sought += [f"large {name_of(name)}" for name in goal.maximize]
    shown = {
        "Searched": f"{searched}. {facts.method}",
        "Looked for": enumerate_names(sought),
        "Data": f"{source_of(facts.data)}: {categories_of(facts.data)}; N_max = {facts.data.N_max}",
        "Trials": f"{len(trials)}: {_counts(trials)}",
        "Steps": f"{facts.num_steps:,} of each trial; {facts.num_steps_in_full:,} in full",
    }
    if winner:
        shown["Winner"] = f"trial {winner.number}: {_values(winner)}"
    return {term: value.replace(" = ", "\u00a0=\u00a0") for term, value in shown.items()}


def _span(domain: Domain) -> str:
    """What was tried of a field, in words."""
    if isinstance(domain, Choice):
        return ", ".join(map(show, domain.values))
    span = f"{show(domain.low)} to {show(domain.high)}"
    if domain.step is not None:
        return f"{span} in steps of {show(domain.step)}"
    return f"{span}, even in the logarithm" if domain.log else span


def _reached(trials: Sequence[Trial], goal: Goal) -> Markup:
    drawn = [
        picture(plots.to_svg(figure), f"What the trials reached: {name}")
        for name, figure in plots.picture_trials(trials, goal).items()
    ]
    if not drawn:
        return absent("What the trials reached", "No trial has finished, or nothing was varied.")
    if len(goal.names) == 1:
        (name,) = goal.names
        title = f"The {name_of(name)} by field"
        text = "Each trial is a point; the other fields differ too, so that points scatter."
    else:
        is_paper_s = goal.is_rate_distortion
        title = "The trade-off" if is_paper_s else "The front"
        text = (
            "Each trial is a point; numbered ones are on the front: no other trial is as good in"
            " all figures and better in one."
        )
        if is_paper_s:
            text += (
                " Along it, what is told less by the latent vector is left to be drawn by chance:"
                " the counterpart of Figure 4 of Ha & Eck (2017). Left below is better."
            )
    caption = "Validation split, at each trial's best validation by its own objective."
    if len(goal.names) > 1:
        caption += (
            " The winner is the point of the front that is nearest to the best of every figure,"
            " each scaled by its range on the front: a proposal, not a verdict."
        )
    return section(title, text, caption, pictures(drawn))


def _meaning(trials: Sequence[Trial], goal: Goal, facts: SearchFacts) -> Markup:
    texts = [
        f"{(term.name or figure)[:1].upper()}{(term.name or figure)[1:]}: {term.meaning}"
        for figure in goal.names
        if (term := term_of(figure)).meaning
    ]
    if _OBJECTIVE in goal.names:
        texts.append(
            "The objective compares these trials because w_KL, KL_min and N_z are the same in all;"
            " it compares none of them with a run where they are not."
        )
    else:
        texts.append(
            "The training loss is not among them: it is another quantity at every w_KL and N_z,"
            " because it weighs L_KL by the one and divides it by the other. A search that made it"
            " small would find a small w_KL and nothing else."
        )
    if _BOUND in {*goal.names, *_present(trials)}:
        texts.append(
            "The bound ranks M and N_z. Over w_KL it merely prefers w_KL near N_z / N_max (here"
            f" N_z / {facts.data.N_max}), because it is about N_max times the training loss at"
            " that weight. So w_KL is chosen from the front of rate and distortion, or by looking"
            " at drawings, and not by the bound."
        )
    texts.append(
        "L_KL below the floor KL_min is not made smaller, so that a rate near N_z KL_min tells of"
        " the floor and not of w_KL."
    )
    texts.append(
        f"One training of {facts.num_steps:,} steps stands for each point. Another seed would move"
        " it, by how much was not measured, and trainings in full may come in another order."
    )
    return prose("What the figures mean, and what they do not", texts)


def _table_of_best(
    best: Sequence[Trial], winner: Trial | None, goal: Goal, facts: SearchFacts
) -> Markup:
    title = "Points of the front" if len(goal.names) > 1 else "The best trials"
    if not best:
        return absent(title, "No trial has finished with every figure that was looked for.")
    fields = _fields(best)
    figures = [*goal.names, *(name for name in _present(best) if name not in goal.names)]
    rows: list[list[Cell]] = [
        [trial.number, *_cells(trial, fields), *(trial.figures.get(name) for name in figures)]
        for trial in best
    ]
    text = (
        "Below each, the command that trains it in full. The winner is in bold."
        f" A trial had {facts.num_steps:,} steps, the command has {facts.num_steps_in_full:,}."
    )
    body = table(
        ["trial", *map(short, fields), *map(name_of, figures)],
        rows,
        notes=[training_command(facts.overrides, trial.values) for trial in best],
        marked=next((index for index, trial in enumerate(best) if trial is winner), None),
    )
    return section(title, text, _units(figures), body)


def _influence(importances: Sequence[Importance]) -> Markup:
    title = "What made the difference"
    drawn = [
        picture(plots.to_svg(plots.picture_importance(each)), _in_words(each))
        for each in importances
        if each.shares
    ]
    reasons = [
        missing(f"{name_of(each.figure)}: {each.reason}") for each in importances if each.reason
    ]
    text = (
        "How much of a figure's variance over the space each field explains by itself. A bar that"
        " ends before the coloured mark is no more than chance: of 19 shuffles of the figures among"
        " the trials, one gave as much. What fields explain only together is in no bar."
    )
    caption = (
        "Functional ANOVA over a random forest (Hutter et al. 2014) of the finished trials; the"
        " thin line spans nine in ten resamplings of them. A field's share depends on the range"
        " that was searched."
    )
    return section(title, text, caption, pictures(drawn), *reasons)


def _all(trials: Sequence[Trial], goal: Goal) -> Markup:
    fields = _fields(trials)
    present = _present(trials)
    figures = [*goal.names, *(name for name in present if name not in goal.names)]
    rows: list[list[Cell]] = [
        [
            trial.number,
            *_cells(trial, fields),
            trial.status.value,
            trial.step,
            *(trial.figures.get(name) for name in figures),
            round(trial.duration_s),
            trial.mlflow_run_id,
        ]
        for trial in trials
    ]
    header = ["trial", *map(short, fields), "status", "step", *map(name_of, figures)]
    text = f"{_counts(trials)[:1].upper()}{_counts(trials)[1:]}."
    if any(trial.status is Status.stopped for trial in trials):
        text += (
            " Those that the scheduler stopped early have the figures of the step where it stopped"
            " them, and are not on the front."
        )
    body = table([*header, "seconds", "MLflow run"], rows)
    return section("All trials", text, _units(figures), body)


def _failures(trials: Sequence[Trial]) -> Markup:
    failed = [trial for trial in trials if trial.status is Status.failed]
    if not failed:
        return Markup("")
    fields = _fields(failed)
    rows: list[list[Cell]] = [
        [trial.number, *_cells(trial, fields), trial.error] for trial in failed
    ]
    body = table(["trial", *map(short, fields), "error"], rows)
    folders = "The log of each is log.txt in its folder, which trials.csv names."
    return section("Failures", "They ended with an error and have no figures.", folders, body)


def _small_print() -> list[str]:
    return [
        "Everything on this page is also in trials.csv and trials.parquet, to the last digit.",
        "Ha & Eck, A Neural Representation of Sketch Drawings (2017).",
    ]


def _present(trials: Sequence[Trial]) -> list[str]:
    """Figures that the tables show beside those of the goal."""
    return [name for name in _ALSO_SHOWN if any(name in trial.figures for trial in trials)]


def _fields(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(field for trial in trials for field in trial.values))


def _cells(trial: Trial, fields: Sequence[str]) -> list[Cell]:
    values = [trial.values.get(field) for field in fields]
    return [v if isinstance(v, (int, float)) else show(v) for v in values]


def _values(trial: Trial) -> str:
    return ", ".join(f"{short(field)} = {show(value)}" for field, value in trial.values.items())


def _figure(trial: Trial, name: str) -> str:
    return f"{show(trial.figures[name])} {term_of(name).unit}".strip()


def _units(figures: Sequence[str]) -> str:
    units: dict[str, list[str]] = {}
    for figure in figures:
        if unit := term_of(figure).unit:
            units.setdefault(unit, []).append(name_of(figure))
    told = "; ".join(f"{enumerate_names(names)} in {unit}" for unit, names in units.items())
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def _counts(trials: Sequence[Trial]) -> str:
    counts = Counter(trial.status for trial in trials)
    told = {Status.stopped: "stopped early"}
    words = [f"{counts[s]} {told.get(s, s.value)}" for s in Status if counts[s]]
    return enumerate_names(words) if words else "none"


def _in_words(importance: Importance) -> str:
    shares = ", ".join(
        f"{short(name)} {share.value:.2f}" for name, share in importance.shares.items()
    )
    return f"Shares of the variance of the {name_of(importance.figure)}: {shares}"
