"""Documents -> text, so that reading it again gives the same document."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from windrow.model.wire.text import resolved


def yaml_text(document: Any) -> str:
    """A document as YAML, keys in their order, long texts as blocks."""
    return str(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    )


def json_text(document: Any) -> str:
    """A document as JSON that is YAML too."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML may not, or takes for the end of a line (YAML 1.1 §4.1)."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Anchors mean nothing to the people who read manifests."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """`- items` of a list stand two columns further in than its key."""
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _BREAKS.search(text):
        # PyYAML would write these as they are, and reading would make a blank of them.
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    # PyYAML quotes what PyYAML would misread; `1e3` and `0o7` are numbers to go-yaml and to us.
    style = None if isinstance(resolved(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


_BREAKS = re.compile("[\x85\u2028\u2029\ufeff\r]")
