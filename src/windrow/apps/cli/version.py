"""`windrow version`."""

from __future__ import annotations

import os
import platform

import click

from windrow import __version__
from windrow.apps.cli.options import output
from windrow.apps.cli.output import print_json, say
from windrow.model.names import API_VERSION, NAD_API_VERSION
from windrow.render.values import document

EXAMPLES = """\b
Examples:
  windrow version
  windrow version -o json"""


@click.command(epilog=EXAMPLES, short_help="Print the version")
@output
def version(output: str) -> None:
    """Print the version of Windrow, of Python and of the kernel, and the kinds of manifests that it speaks."""
    system = os.uname()
    kernel, python = f"{system.sysname} {system.release}", platform.python_version()
    if output == "json":
        apis = [API_VERSION, NAD_API_VERSION]
        print_json(document("Version", version=__version__, python=python, kernel=kernel, manifests=apis))
    else:
        say(f"windrow {__version__}\npython  {python}\nkernel  {kernel}\nspeaks  {API_VERSION}, {NAD_API_VERSION}")
