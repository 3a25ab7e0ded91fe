"""Settings of the documentation site: `make docs`.

Sphinx with MyST and furo. Sphinx is kept and at release 9; docstrings here are reStructuredText, which
it reads as they are; with ``-W`` a dead link is an error. (MkDocs Material is at its end, and
Zensical, its authors' next, is before 1.0.)
"""

import importlib.metadata

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

project = "spinesearch"
author = "the spinesearch authors"
release = version = importlib.metadata.version("spinesearch")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"spinesearch {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as GitHub makes them, so that `page.md#heading` is one link on both

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_mock_imports = ["ray"]  # the reference is of what is called, and needs no cluster to be read
default_role = "code"  # in docstrings, single backticks name code, here or elsewhere

lexers["mermaid"] = TextLexer()  # GitHub draws these; here they are text, as drawing them would load a script
