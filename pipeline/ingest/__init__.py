"""Drawings in, checked Arrow shards out."""
