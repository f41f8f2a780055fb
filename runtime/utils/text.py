"""Text of others on its way to a terminal."""


def printable(text: str) -> str:
    """The text with control characters escaped, which would move the cursor or change what is shown."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode("ascii")
        for letter in text
    )
