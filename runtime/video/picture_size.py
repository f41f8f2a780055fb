"""The largest picture that any reader takes: one limit for files, folders, streams and clients."""

LARGEST_PICTURE = 1 << 27  # pixels, 134 million: 400 MB in RGB; a small file can hold a picture that fills the memory
LONGEST_SIDE = 65_535  # pixels, as JPEG has it


def size_refusal(width: int, height: int) -> str | None:
    """What is wrong with a picture's size (got, expected), None if nothing is."""
    if width * height <= LARGEST_PICTURE and max(width, height) <= LONGEST_SIDE:
        return None
    return (
        f"got a picture of {width} x {height} pixels, expected at most {LARGEST_PICTURE} pixels and "
        f"{LONGEST_SIDE} on a side; make it smaller"
    )
