"""Drawings in, checked Arrow shards out, one category at a time."""

from pipeline.ingest.category import Ingested, ingest_category

__all__ = ["Ingested", "ingest_category"]
