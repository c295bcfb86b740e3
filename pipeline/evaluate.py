"""`python -m pipeline.evaluate +experiment=NAME`: losses and quality, in metrics.json."""

from __future__ import annotations

import json
from typing import Any

from pipeline.atomic import replacing_file
from pipeline.config import Config, UserError
from pipeline.entry import command
from pipeline.importing import importing

_CHARTS = ("L_R", "L_s", "L_p", "L_KL", "L_R_masked", "bound_nats", "nats_per_point")
_CHARTS_BY_CATEGORY = ("L_R", "L_KL")


def _tracked(metrics: dict[str, Any]) -> dict[str, float]:
    """What is worth a chart; metrics.json has the rest."""
    figures = {f"test/{name}": metrics[name] for name in _CHARTS}
    for category, of_category in metrics["by_category"].items():
        for name in _CHARTS_BY_CATEGORY:
            figures[f"test_{name}/{category}"] = of_category[name]
    return figures


def evaluate(config: Config) -> None:
    """Scores the experiment's model on every drawing of the test split."""
    with importing():  # torch: not needed to print --help
        import torch

        from pipeline.data.dataset import ShardedSketches
        from pipeline.quality.assessment import quality_of, summarise, tags_of, tracked
        from pipeline.results import load_published, reopen_run
        from pipeline.scoring import score

    model, training = load_published(config)
    test = ShardedSketches(config.manifest_path, "test", config.cache)
    if len(test) == 0:
        raise UserError(
            f"the test split of {config.manifest_path} is empty: use more drawings, or a larger"
            " third share in ingest.fractions"
        )
    torch.set_flush_denormal(True)
    metrics = score(model, test, config.evaluate, config.train.seed)
    metrics["quality"] = quality_of(model, config, test)
    with replacing_file(config.metrics_path) as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n")
    tracker = reopen_run(config, training)
    figures = _tracked(metrics) | tracked(metrics["quality"])
    tracker.log_metrics(figures, training["best_step"], of_model=True)
    tracker.set_tags(tags_of(metrics["quality"]))
    tracker.finish()
    print(
        f"test split, {metrics['num_sketches']} drawings: L_R {metrics['L_R']:.4f}"
        f" (L_s {metrics['L_s']:.4f}, L_p {metrics['L_p']:.4f}), L_KL {metrics['L_KL']:.4f},"
        f" bound {metrics['bound_nats']:.2f} nats per drawing"
    )
    print("\n".join([*summarise(metrics["quality"]), f"metrics   {config.metrics_path}"]))


main = command(evaluate)

if __name__ == "__main__":
    main()
