"""`python -m pipeline.doodle +experiment=NAME`: doodles as ndjson files, laid out like the bucket.

Ingest needs no files of them. These are for looking at, for other programs, and for trying out
`source=local` without a download.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.atomic import replacing_file
from pipeline.config import Config, Source, UserError
from pipeline.entry import command
from pipeline.importing import importing


@command
def main(config: Config) -> None:
    """Writes both forms of every category of the config, `source.num_drawings` lines each."""
    with importing():  # numba: not needed to print --help
        from pipeline.doodles import CATEGORIES, generate, generate_raw

    source, root = config.source, Path(config.data_dir) / "ndjson"
    if source.name != Source.doodles:
        raise UserError(f"source={source.name} is not generated: use source=doodles")
    if unknown := sorted(set(config.categories) - set(CATEGORIES)):
        raise UserError(f"there are no doodles of {', '.join(unknown)}: {', '.join(CATEGORIES)}")
    for category in config.categories:
        for form, lines in {"simplified": generate, "raw": generate_raw}.items():
            target = root / "full" / form / f"{category}.ndjson"
            with replacing_file(target) as path, path.open("wb") as file:
                file.writelines(lines(category, source.num_drawings, source.seed))
        print(f"{category}: {source.num_drawings} generated drawings, simplified and raw")
    print(f"read them with source=local source.root={root}")


if __name__ == "__main__":
    main()
