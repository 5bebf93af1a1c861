"""Sphinx: the pages of this tree as a site. `scripts/site` lays them out and starts it."""

project = "Windrow"
author = "The Windrow maintainers"
project_copyright = "The Windrow maintainers, Apache-2.0"
extensions = ["myst_parser"]
root_doc = "index"
html_theme = "alabaster"
html_theme_options = {
    "description": "Harvester's network for any Linux host",
    "fixed_sidebar": True,
    "page_width": "1200px",
    "sidebar_width": "260px",
}
html_show_sourcelink = False
highlight_language = "none"
myst_heading_anchors = 4
"""As GitHub names them: links between pages go to headings."""
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]
"""What a terminal shows is no language of anybody's."""
