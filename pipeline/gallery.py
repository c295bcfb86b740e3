"""`python -m pipeline.gallery +experiment=NAME`: what the experiment's model draws, as a page."""

from __future__ import annotations

import json

from pipeline.atomic import replacing_file
from pipeline.config import Config, UserError
from pipeline.entry import command
from pipeline.importing import importing

_NUM_CANDIDATES = 200


def draw_gallery(config: Config) -> None:
    """Writes the gallery of the experiment's model, with drawings of its test split."""
    with importing():  # torch: not needed to print --help
        import numpy as np
        import torch

        from pipeline.data.dataset import ShardedSketches
        from pipeline.permutation import permute
        from pipeline.quality.section import quality_section
        from pipeline.report.gallery import RunFacts, gallery_html
        from pipeline.results import load_published, reopen_run

    model, training = load_published(config)
    if not config.metrics_path.exists():
        raise UserError(
            f"{config.metrics_path} does not exist: run `python -m pipeline.evaluate"
            f" +experiment={config.name} source={config.source.name}`"
        )
    metrics = json.loads(config.metrics_path.read_text())
    names = ("L_R", "L_KL") if model.config.conditional else ("L_R",)
    facts = RunFacts(
        name=config.name,
        num_steps=training["best_step"],
        metrics={name: metrics[name] for name in names},
    )
    test = ShardedSketches(config.manifest_path, "test", config.cache)
    if len(test) < 2:
        raise UserError(
            f"the test split of {config.manifest_path} has {len(test)} drawings, and a gallery"
            " shows at least 2: use more drawings, or a larger third share in ingest.fractions"
        )
    train = ShardedSketches(config.manifest_path, "train", config.cache)
    chosen = permute(np.arange(min(_NUM_CANDIDATES, len(test))), len(test), key=config.train.seed)
    torch.set_flush_denormal(True)
    packed = test.gather(chosen)
    page = gallery_html(
        model,
        packed.sketches(),
        [model.data.categories[index] for index in packed.categories],
        seed=config.train.seed,
        facts=facts,
        quality=quality_section(model, metrics.get("quality"), test, train),
    )
    with replacing_file(config.gallery_path) as path:
        path.write_text(page, encoding="utf-8")
    tracker = reopen_run(config, training)
    tracker.log_file(config.gallery_path, of_model=True)
    tracker.finish()
    print(f"gallery   {config.gallery_path} ({len(page) / 1e6:.2f} MB)")


main = command(draw_gallery)

if __name__ == "__main__":
    main()
