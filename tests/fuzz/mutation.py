"""Mutated bytes: the same seed makes the same input."""

import numpy as np

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TOKENS = (b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"true", b"99999999999999999999", b"[[", b"\\ud800")


def mutated(content: bytes, seed: int) -> bytes:
    """`content` with one to six changes."""
    random = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(int(random.integers(1, 7))):
        if not data:
            break
        _change(data, random)
    return bytes(data)


def _change(data: bytearray, random: np.random.Generator) -> None:
    place = int(random.integers(len(data)))
    # Headers are where sizes and types stand.
    if random.random() < 0.5:
        place = min(place, int(random.integers(min(len(data), 512))))
    length = int(min(len(data) - place, 2 ** random.integers(0, 10)))
    match int(random.integers(9)):
        case 0:
            data[place] ^= 1 << int(random.integers(8))
        case 1:
            data[place] = int(random.integers(256))
        case 2:
            data[place : place + length] = bytes(length)
        case 3:
            data[place : place + length] = random.bytes(length)
        case 4:
            del data[place : place + length]
        case 5:
            data[place:place] = data[place : place + length]
        case 6:
            width = int(random.choice((2, 4)))
            order = "big" if random.random() < 0.5 else "little"
            number = int(random.choice(_NUMBERS)) & (256**width - 1)
            data[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
        case 7:
            del data[place:]
        case _:
            token = _TOKENS[int(random.integers(len(_TOKENS)))]
            data[place : place + len(token)] = token
