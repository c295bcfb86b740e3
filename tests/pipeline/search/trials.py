"""A made-up search over w_KL, M and N_z, with trials of every fate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.search.outcome import Goal, Status, Trial

RATE_DISTORTION = Goal(("rate_nats", "distortion_nats"))
BOUND = Goal(("bound_nats",))
ERROR = "out of memory (<b>& all</b>): use a smaller train.batch_size"
_FATES = {4: Status.failed, 6: Status.stopped, 8: Status.unfinished}


def make_trials(num: int = 27, folder: Path = Path("trials")) -> list[Trial]:
    """The smaller w_KL, the larger the rate and the smaller the distortion."""
    dice = np.random.default_rng(0)
    trials = []
    for number in range(num):
        w_KL = float(np.exp(dice.uniform(np.log(0.1), np.log(2.0))))
        M, N_z = int(dice.choice([5, 10, 20])), int(dice.choice([16, 64]))
        rate = float(20 / w_KL**0.5 + dice.normal())
        distortion = float(900 / (rate + 8) - M + dice.normal())
        status = _FATES.get(number % 9, Status.finished)
        figures = {
            "rate_nats": rate,
            "distortion_nats": distortion,
            "bound_nats": rate + distortion,
            "L_R": distortion / 250,
            "L_KL": rate / N_z,
        }
        trials.append(
            Trial(
                number,
                {"loss.w_KL": w_KL, "model.M": M, "model.N_z": N_z},
                status,
                folder / str(number),
                step=0 if status is Status.failed else 200,
                figures={} if status is Status.failed else figures,
                duration_s=60.5,
                error=ERROR if status is Status.failed else "",
                mlflow_run_id=None if status is Status.unfinished else f"{number:032x}",
            )
        )
    return trials


def on_front(trials: list[Trial], *names: str) -> set[int]:
    """Numbers of the finished trials that none dominates, by comparing each with each."""
    points = {
        trial.number: [trial.figures[name] for name in names]
        for trial in trials
        if trial.status is Status.finished
    }
    return {
        number
        for number, point in points.items()
        if not any(
            other != point and all(o <= p for o, p in zip(other, point, strict=True))
            for other in points.values()
        )
    }
