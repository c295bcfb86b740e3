"""Readers of drawings, one per form in which they are written down.

A reader gives `Parsed` records: `ndjson` (simplified and raw), `binary`, `npz` and `svg`. The other
modules are parts of these.
"""
