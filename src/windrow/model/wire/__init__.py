"""Text <-> objects. Nothing here knows of files, and nothing a text holds may end in an exception.

`load_documents` collects every problem with its file, line, path and hint; it says what is wrong with one
document by itself. What is wrong beside other objects is for `windrow.rules` to say.
"""

from windrow.model.wire.documents import (
    Loaded,
    document_of,
    dump,
    items_of,
    load_documents,
    load_value,
    ref_of,
    without_doubles,
)
from windrow.model.wire.writing import json_text, yaml_text

__all__ = [
    "Loaded",
    "document_of",
    "dump",
    "items_of",
    "json_text",
    "load_documents",
    "load_value",
    "ref_of",
    "without_doubles",
    "yaml_text",
]
