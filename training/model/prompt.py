"""Training sequences: a whole window of answered turns, in which every turn also has its open end.

At inference the open answer ends with a lone space piece, and that row's hidden state becomes the segment embedding;
in an answered turn the space is stripped and [SEG] follows "is" directly. A training sequence holds both: behind every
"is" stands the space piece as a branch that no later row sees, so that one pass gives what inference computes for
windows of one, two, three and four turns.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.training.model.tokenizer import ANSWER, CONTEXT_REQUEST, SYSTEM, NanoTokenizer

IGNORED = -100


@dataclass(frozen=True)
class Turns:
    """Sequences of N sentences, right-padded to the same number of rows R. `ids` below 0: image token -(1 + index)."""

    ids: torch.Tensor  # [N, R] int64; image tokens count through the 4 query frames: frame * tokens + i
    positions: torch.Tensor  # [N, R] int64, the prefix's rows not counted
    branch: torch.Tensor  # [N, R] bool: the open ends
    labels: torch.Tensor  # [N, R] int64: next token where an answer is to be learned, else IGNORED
    open_rows: torch.Tensor  # [N, turns] row of each open end
    answered_rows: torch.Tensor  # [N, turns] row before each [SEG] in an answered turn


def prefix_ids(tokenizer: NanoTokenizer, tokens: int, *, context: bool = True) -> NDArray[np.int64]:
    """Rows up to the end of the context request, shared by all sentences; image tokens as -(1 + index).

    Without context frames there is no request either.
    """
    ids = [tokenizer.begin, *tokenizer.encode(f"{SYSTEM} USER:")]
    if not context:
        return np.asarray(ids, np.int64)
    for frame in range(4):
        ids += [tokenizer.image_start, *_image(frame, tokens), tokenizer.image_end]
    return np.asarray(ids + tokenizer.encode(CONTEXT_REQUEST), np.int64)


def _image(frame: int, tokens: int) -> list[int]:
    return [-(1 + frame * tokens + i) for i in range(tokens)]


@lru_cache(maxsize=8192)
def _question(tokenizer: NanoTokenizer, sentence: str) -> tuple[int, ...]:
    text = f"Can you segment the {sentence} in this frame? ASSISTANT: {ANSWER}"
    return tuple(tokenizer.encode(text))


def _turns(tokenizer: NanoTokenizer, sentence: str, tokens: int, turns: int) -> dict[str, list[int]]:
    question = _question(tokenizer, sentence)  # ends with the lone space piece
    answer = len(tokenizer.encode(ANSWER)) - 1
    space, closing = question[-1], tokenizer.encode(".")
    user = tokenizer.encode("USER:")
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    open_rows: list[int] = []
    answered_rows: list[int] = []

    def add(rows: list[int], wanted: list[int]) -> None:
        start = positions[-1] + 1 if positions else 0
        ids.extend(rows)
        labels.extend(wanted)
        positions.extend(range(start, start + len(rows)))

    for turn in range(turns):
        body = [tokenizer.image_start, *_image(turn, tokens), tokenizer.image_end, *question[:-1]]
        body_labels = [IGNORED] * (len(body) - answer - 1) + body[-answer:] + [tokenizer.segment]
        add(body, body_labels)
        answered_rows.append(len(ids) - 1)
        add([space], [tokenizer.segment])
        open_rows.append(len(ids) - 1)
        if turn + 1 < turns:
            positions.append(positions[-1])  # [SEG] takes the branch's place
            ids.append(tokenizer.segment)
            labels.append(closing[0])
            add([*closing, tokenizer.end, *user], [*closing[1:], tokenizer.end, *[IGNORED] * (1 + len(user))])
    return {"ids": ids, "labels": labels, "positions": positions, "open": open_rows, "answered": answered_rows}


def turn_sequences(tokenizer: NanoTokenizer, sentences: list[str], tokens: int, turns: int = 4) -> Turns:
    """The window of `turns` turns for every sentence."""
    parts = [_turns(tokenizer, s, tokens, turns) for s in sentences]
    rows = max(len(p["ids"]) for p in parts)

    def padded(key: str, fill: int) -> torch.Tensor:
        out = np.full((len(parts), rows), fill, np.int64)
        for n, part in enumerate(parts):
            out[n, : len(part[key])] = part[key]
        return torch.from_numpy(out)

    open_rows = torch.tensor([p["open"] for p in parts])
    branch = torch.zeros(len(parts), rows, dtype=torch.bool)
    branch.scatter_(1, open_rows, value=True)
    return Turns(
        ids=padded("ids", 0),
        positions=padded("positions", 0),
        branch=branch,
        labels=padded("labels", IGNORED),
        open_rows=open_rows,
        answered_rows=torch.tensor([p["answered"] for p in parts]),
    )


def attention_mask(turns: Turns, prefix: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [N, 1, R, prefix + R]: causal, the whole prefix seen, branches seen by themselves alone."""
    n, rows = turns.ids.shape
    causal = torch.ones(rows, rows, dtype=torch.bool).tril()
    seen = causal & (~turns.branch[:, None, :] | torch.eye(rows, dtype=torch.bool))
    whole = torch.cat((torch.ones(n, rows, prefix, dtype=torch.bool), seen), 2)
    mask = torch.zeros(whole.shape, dtype=dtype)
    return mask.masked_fill_(~whole, torch.finfo(dtype).min)[:, None]
