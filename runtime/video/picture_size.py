"""The largest picture that any reader takes: one limit for files, folders, streams and clients."""

LARGEST_PICTURE = 1 << 27  # pixels, 134 million: 400 MB in RGB; a small file can hold a picture that fills the memory
LONGEST_SIDE = 65_535  # pixels, as JPEG has it
LARGEST_RATIO = 256  # of the longer side to the shorter; what is longer is no picture of a scene


def size_refusal(width: int, height: int, largest: int = LARGEST_PICTURE) -> str | None:
    """What is wrong with a picture's size (got, expected), None if nothing is. `largest`: pixels."""
    if max(width, height) > LARGEST_RATIO * max(1, min(width, height)):
        return f"got a picture of {width} x {height} pixels, expected sides of 1 : {LARGEST_RATIO} at most; crop it"
    if width * height <= largest and max(width, height) <= LONGEST_SIDE:
        return None
    return (
        f"got a picture of {width} x {height} pixels, expected at most {largest} pixels and "
        f"{LONGEST_SIDE} on a side; make it smaller"
    )
