"""Windrow: the Harvester network for any Linux host.

The rooms, and what may live in each, are described in docs/architecture.md;
the import law between them is checked by import-linter (pyproject.toml).
"""

__version__ = "0.1.0"
