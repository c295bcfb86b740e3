"""`python -m pipeline.inspect +experiment=NAME`: a manifest, single drawings, or what was rejected.

The manifest unless `inspect.row`, `inspect.id` or `inspect.rejects` asks for one of the others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.atomic import replacing_file
from pipeline.config import Config, InspectConfig, Split, UserError
from pipeline.data.metadata import Place, StoredDrawing, find, locate, read
from pipeline.entry import command
from pipeline.manifest import SPLITS, Counts, Manifest
from sketch_model.raster import grid
from sketch_model.svg import grid_to_svg

_CELL_SIZE = 384
_MAX_PICTURED = 8
_WIDTH = 14

Found = list[tuple[Place, StoredDrawing]]


def describe_manifest(manifest: Manifest, path: Path, root: str) -> Iterator[str]:
    """Lines on what a data set holds, category by category, and what became of the rest."""
    source, size_bytes = manifest.source, sum(shard.size_bytes for shard in manifest.shards)
    origin = f"{source['name']}, {source['format']}, {source['root']}".removesuffix(", ")
    yield from _fields(
        {
            "manifest": path,
            "name": manifest.name,
            "source": origin,
            "generated": "yes" if manifest.generated else "no",
            "shards": f"{len(manifest.shards):,} in {root}, {size_bytes / 1e6:,.1f} MB",
            "offset scale": f"{manifest.offset_scale:.4f}",
            "longest": f"{manifest.longest} points, N_max {manifest.N_max}",
            "quantum": f"{manifest.quantum:g}",
            "fingerprint": manifest.fingerprint,
        }
    )
    yield from _table(manifest)
    counts = Counts.total(list(manifest.counts.values()))
    yield from (f"filtered {num:,}: {rule}" for rule, num in counts.filtered.items())
    yield from (f"rejected {num:,}: {reason}" for reason, num in counts.rejected.items())
    if manifest.empty_splits:
        yield f"without any drawing: {', '.join(manifest.empty_splits)}"


def describe_drawing(place: Place, drawing: StoredDrawing) -> Iterator[str]:
    """Lines on one drawing, and where it lies."""
    batch, time = place.recordbatch, drawing.timestamp
    recognized = {None: "unknown", True: "yes", False: "no"}[drawing.recognized]
    strokes = int(drawing.points[:, 2].sum())
    yield from _fields(
        {
            "category": batch.shard.category,
            "split": f"{batch.shard.split}, row {place.row}",
            "id": drawing.id,
            "country": drawing.countrycode or "unknown",
            "time": f"{time:%Y-%m-%d %H:%M:%S.%f} UTC" if time else "unknown",
            "recognized": recognized,
            "points": f"{len(drawing.points)} in {strokes} strokes",
            "shard": batch.location,
            "record batch": f"{batch.index}, row {place.row_of_recordbatch} of it",
        }
    )


def describe_rejects(manifest: Manifest, root: str, num: int) -> Iterator[str]:
    """Lines on each reason: how many records have it, and the first `num` of them.

    Raises:
        UserError: if the rejects are not those that the manifest counts.
    """
    counts = Counts.total(list(manifest.counts.values()))
    if not counts.rejected:
        yield f"none of {counts.lines:,} records was rejected"
    first: dict[str, list[str]] = defaultdict(list)
    for category in manifest.categories:
        for entry in _read_rejects(root, category, manifest.counts[category]):
            if len(first[entry["reason"]]) < num:
                line = f"  {entry['file']} line {entry['line']}: {entry['detail']}"
                first[entry["reason"]].append(line)
    for reason, total in counts.rejected.items():
        yield f"rejected {total:,}: {reason}"
        yield from first[reason]


def find_drawings(config: InspectConfig, manifest: Manifest, path: Path, root: str) -> Found:
    """The drawings that a row or an id names.

    Raises:
        UserError: if there are none, or their shards cannot be read.
    """
    if config.row is not None:
        split = config.split or Split.train
        num = manifest.num_drawings(split)
        if config.row >= num:
            raise UserError(
                f"inspect.row={config.row} must be below {num}, the number of drawings in the"
                f" {split} split of {path}: give another row, or another inspect.split"
            )
        places = [locate(manifest, root, split, config.row)]
    else:
        assert config.id is not None
        places = list(find(manifest, root, config.id))
        if not places:
            raise UserError(
                f"inspect.id={config.id} is none of the drawings of {path}: give the key_id of"
                " one that was neither filtered nor rejected, or inspect.row"
            )
    return [(place, read(place)) for place in places]


def write_picture(found: Found, path: Path) -> None:
    """Draws the first few drawings beside each other, as the path's ending says.

    Raises:
        UserError: if it cannot be written.
    """
    found = found[:_MAX_PICTURED]
    rows = [[drawing.points for _, drawing in found]]
    shards = [(place.recordbatch.shard, place.row) for place, _ in found]
    captions = [f"{shard.category}, {shard.split} {row}" for shard, row in shards]
    with replacing_file(path) as writing:
        if path.suffix == ".svg":
            text = grid_to_svg(rows, column_captions=captions, cell_size=_CELL_SIZE)
            writing.write_text(text, encoding="utf-8")
        else:
            grid(rows, column_captions=captions, cell_size=_CELL_SIZE).save(writing, format="PNG")


def _fields(fields: dict[str, Any]) -> Iterator[str]:
    return (f"{name:{_WIDTH}}{value}" for name, value in fields.items())


def _table(manifest: Manifest) -> Iterator[str]:
    header = ("category", *SPLITS, "filtered", "rejected", "near-dup.", "points", "MB")
    rows = [_row(manifest, category) for category in manifest.categories]
    if len(rows) > 1:
        rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    width = max(len(row[0]) for row in (header, *rows))
    yield f"{header[0]:{width}}" + "".join(f"{name:>12}" for name in header[1:])
    for name, *numbers, size_mb in rows:
        cells = [*(f"{number:,}" for number in numbers), f"{size_mb:,.1f}"]
        yield f"{name:{width}}" + "".join(f"{cell:>12}" for cell in cells)


def _row(manifest: Manifest, category: str) -> tuple[Any, ...]:
    counts = manifest.counts[category]
    shards = [shard for shard in manifest.shards if shard.category == category]
    return (
        category,
        *(counts.drawings[split] for split in SPLITS),
        sum(counts.filtered.values()),
        sum(counts.rejected.values()),
        sum(manifest.near_duplicates[category].values()),
        sum(shard.num_points for shard in shards),
        sum(shard.size_bytes for shard in shards) / 1e6,
    )


def _read_rejects(root: str, category: str, counts: Counts) -> list[dict[str, Any]]:
    location = storage.join(root, category, "rejects.jsonl")
    try:
        rejects = [json.loads(line) for line in storage.read_bytes(location).splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):
        rejects = []
    if Counter(entry["reason"] for entry in rejects) != counts.rejected:
        raise UserError(
            f"{location} has {len(rejects)} rejects that can be read, and the manifest counts"
            f" {sum(counts.rejected.values())}: run ingest and prepare again"
        )
    return rejects


@command
def main(config: Config) -> None:
    """Prints what `config.inspect` asks for, and draws it where a picture is wanted."""
    path, wanted = config.manifest_path, config.inspect
    manifest = Manifest.read(path)
    root = manifest.locate_shards(path)
    if wanted.rejects:
        print("\n".join(describe_rejects(manifest, root, wanted.rejects)))
    elif wanted.row is None and wanted.id is None:
        print("\n".join(describe_manifest(manifest, path, root)))
    else:
        found = find_drawings(wanted, manifest, path, root)
        print("\n\n".join("\n".join(describe_drawing(*each)) for each in found))
        if wanted.picture:
            write_picture(found, Path(wanted.picture))
            rest = f", the first {_MAX_PICTURED}" if len(found) > _MAX_PICTURED else ""
            print(*_fields({"picture": f"{wanted.picture}{rest}"}))


if __name__ == "__main__":
    main()
