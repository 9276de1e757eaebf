"""Sphinx configuration: MyST Markdown with the furo theme."""

project = "hilnas"
author = "the hilnas authors"
copyright = "2026, the hilnas authors"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]
