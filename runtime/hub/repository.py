"""The name of a repository on the Hugging Face Hub."""

import re
from dataclasses import dataclass

PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
NAME = re.compile(rf"(?P<name>{PART}/{PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]*))?")
LONGEST_NAME = 96  # characters: the Hub's own limit
LONGEST_TEXT = 200


@dataclass(frozen=True)
class HubRepository:
    """A model repository at a branch, tag or commit."""

    name: str  # 'owner/name'
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubRepository | None":
        """The repository that 'owner/name' or 'owner/name@revision' names; None where the text is no such name."""
        match = NAME.fullmatch(text)
        if (
            match is None
            or len(text) > LONGEST_TEXT
            or len(match["name"]) > LONGEST_NAME
            or "--" in text
            or ".." in text
        ):
            return None
        return cls(match["name"], match["revision"] or cls.revision)

    def __str__(self) -> str:
        return self.name if self.revision == HubRepository.revision else f"{self.name}@{self.revision}"
