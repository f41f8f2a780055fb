"""A griffe extension: a field's comment, behind it or above it, is its description in the API reference."""

from typing import Any

from griffe import Attribute, Docstring, Extension


class FieldComments(Extension):
    """Reads what the code says of a dataclass's fields where the code says it: in comments."""

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Gives an attribute of a class that has no docstring its comment as one."""
        if attr.docstring or attr.parent is None or not attr.parent.is_class or attr.lineno is None:
            return
        lines = attr.lines_collection[attr.filepath]
        behind = lines[(attr.endlineno or attr.lineno) - 1].partition("  # ")[2]
        above: list[str] = []
        for line in reversed(lines[: attr.lineno - 1]):
            if not line.strip().startswith("# "):
                break
            above.insert(0, line.strip().removeprefix("# "))
        text = behind or " ".join(above)
        if text:
            attr.docstring = Docstring(text, parent=attr)
