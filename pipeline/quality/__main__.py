"""`python -m pipeline.quality +experiment=recogniser`: a recogniser of the experiment's drawings.

`python -m pipeline.evaluate` has it judge what models of the same source draw.
"""

from __future__ import annotations

from pipeline.config import Config
from pipeline.entry import command
from pipeline.importing import importing

_NUM_NAMED = 5


@command
def main(config: Config) -> None:
    """Makes the recogniser of the experiment's drawings, and says how often it is right."""
    with importing():  # torch: not needed to print --help
        from pipeline.quality.making import make_recogniser
        from pipeline.quality.recogniser import fingerprint_of

    facts = make_recogniser(config)
    hardest = sorted(facts.accuracy_by_category.items(), key=lambda item: item[1])[:_NUM_NAMED]
    folder = config.recogniser_dir
    print(
        f"recogniser of {len(facts.categories)} categories: {facts.accuracy:.1%} of test drawings"
        f" recognised, as a mean over categories; hardest are"
        f" {', '.join(f'{name} {share:.0%}' for name, share in hardest)}\n"
        f"recogniser {folder}, fingerprint {fingerprint_of(folder)[:12]}"
    )


if __name__ == "__main__":
    main()
