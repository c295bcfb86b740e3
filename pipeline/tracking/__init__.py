"""Recording of runs in MLflow, whatever becomes of the server and of this process (G14).

A record goes into a journal in the run's folder first, and a thread sends from there:

    Tracker (tracker.py) -> Journal (journal.py) -> Sender (sender.py) -> Store (store.py) -> MLflow

`open_tracker` gives rank zero a `JournaledTracker` and everybody else a plain `Tracker`, which
records nothing, so that callers log unconditionally and nothing is logged twice. Models of a run
are registered by the way (registry.py), and come back (download.py).
"""

from __future__ import annotations

from pipeline.tracking.address import redact, tracking_uri
from pipeline.tracking.commit import git_tags
from pipeline.tracking.download import download_model
from pipeline.tracking.tracker import (
    JOURNAL,
    JournaledTracker,
    Tracker,
    open_tracker,
    reopen_tracker,
)

__all__ = [
    "JOURNAL",
    "JournaledTracker",
    "Tracker",
    "download_model",
    "git_tags",
    "open_tracker",
    "redact",
    "reopen_tracker",
    "tracking_uri",
]
