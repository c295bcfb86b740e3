"""Settings of Sphinx, which makes the site of the Markdown files and of what docstrings say.

The source folder is the repository's, so that the links between README, docs and benchmarks are the
same on GitHub and here: `make docs`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from generator.source_pages import linked_sources  # noqa: E402

_PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "jobs/gcp/*.md")
    for page in ROOT.glob(pattern)
]
_FOLDERS = {"docs", "benchmarks", "jobs", "tests", "pipeline", "sketch_model"}

project = "Sketch-RNN for all of Quick, Draw!"
project_copyright = "the authors, Apache-2.0"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "generator.directives",
    "generator.docstrings",
    "generator.source_pages",
]
root_doc = "docs/index"
include_patterns = [
    *(page.relative_to(ROOT).as_posix() for page in _PAGES),
    *linked_sources(_PAGES, ROOT),
]
exclude_patterns = [
    *(path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in _FOLDERS),
    "benchmarks/magenta_js",
    "**/__pycache__",
]
nitpicky = True
nitpick_ignore_regex = [
    # What other projects define; their sites would have to be read over the network.
    ("py:.*", r"(argparse|collections|jaxtyping|np|numpy|omegaconf|os|pathlib|PIL|torch)\b.*"),
    # What jaxtyping's annotations are made of, the names of a shape among it.
    ("py:class", r"Float|Image|Int|NDArray|Tensor|'.*'"),
]

highlight_language = "none"
smartquotes_action = "D"  # dashes of the lists of parameters; quotes stay
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
default_role = "literal"

# Heavy, and no part of what is documented.
autodoc_mock_imports = ["pytorch_lightning", "ray", "mlflow", "optuna", "sklearn", "matplotlib"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
templates_path = ["_templates"]
html_additional_pages = {"index": "redirect.html"}
