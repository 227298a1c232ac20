"""How the documentation is built: ``make docs``."""

from importlib.metadata import version as installed

project = "Civium"
author = "The Civium contributors"
project_copyright = "The Civium contributors"
release = version = installed("civium")

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = "Civium"
html_show_sphinx = False
html_copy_source = False
