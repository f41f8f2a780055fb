"""What a tokenizer.json may do to a text: the library runs whatever the file says, and grows a text as far as it says."""

from typing import Any

from glus_edge.runtime.utils.schema import SchemaError, json_document

_MODELS = ("BPE", "Unigram")  # what SentencePiece models become
_LARGEST_GROWTH = 64  # times: characters that a normalizer may make of one, all its steps together


def check_tokenizer(content: bytes) -> None:
    """SchemaError: no JSON, a model of another kind, or a normalizer that makes very much of a text."""
    document = json_document(content)
    model = document.get("model") if isinstance(document, dict) else None
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind not in _MODELS:
        raise SchemaError(f"got a model {str(kind)[:60]!r}, expected {' or '.join(_MODELS)}")
    growth = _growth(document.get("normalizer"))
    if growth > _LARGEST_GROWTH:
        raise SchemaError(
            f"got a normalizer that makes a text {growth} times as long, expected at most {_LARGEST_GROWTH}"
        )


def _growth(step: Any) -> int:
    """Characters that a step may make of one."""
    if not isinstance(step, dict):
        return 1
    if isinstance(step.get("normalizers"), list):
        growth = 1
        for each in step["normalizers"]:
            growth = min(growth * _growth(each), 1 << 40)  # many steps: no number without end
        return growth
    content, start = step.get("content"), step.get("prepend")
    # An expression may match between characters, too.
    replaced = 1 + len(content) if step.get("type") == "Replace" and isinstance(content, str) else 1
    if isinstance(step.get("pattern"), dict) and "String" in step["pattern"] and step["pattern"]["String"]:
        replaced = max(1, len(content)) if isinstance(content, str) else 1
    return max(replaced, 1 + len(start) if isinstance(start, str) else 1)
