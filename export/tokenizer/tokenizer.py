"""tokenizer.json: the checkpoint's slow sentencepiece tokenizer, rewritten for the `tokenizers` library, id for id.

What is reproduced is LlamaTokenizer of transformers 4.31 with `legacy=True`, which GLUS was trained with:
the text is split at the added and special tokens; whitespace next to [SEG], <im_start> and <im_end> is stripped,
next to <s> and </s> it is kept; every remaining part is encoded on its own, each behind a dummy prefix space.
<s> is not added: the runtime puts it before the first piece of a prompt only.
"""

from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from glus_edge.export.tokenizer.sentence_pieces import SPACE
from glus_edge.export.tokenizer.special_tokens import SpecialToken, special_tokens
from glus_edge.export.tokenizer.vocabulary import Vocabulary, read_vocabulary
from glus_edge.runtime.bundle.manifest import PromptSettings
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.language.conversation import Conversation

# Sentences whose prompts are tokenised both ways at every export; the last ones leave the alphabet of most vocabularies.
CHECKED_SENTENCES = (
    "the red ball moving to the right",
    "a person, 2nd from the left; who doesn't turn (or stops)",
    "THE  two-wheeled cart   with 13 boxes/crates…",
    "le garçon à vélo qui dépasse l'autobus nº 7",
    "左から二番目の赤い車",
    "\tобезьяна\u00a0🐒\u200b\n\x07",
)


def write_tokenizer(checkpoint_dir: Path, path: Path) -> PromptSettings:
    """Write `path` from the checkpoint's tokenizer files; return the prompt settings with this checkpoint's ids.

    Reads tokenizer.model, or tokenizer.json where there is none, and added_tokens.json, special_tokens_map.json and
    tokenizer_config.json as far as they are there. The result is compared with the library of the file that was read on
    prompts of several sentences. Raises CheckpointError for a file that is missing or unreadable,
    a tokenizer of another kind (unigram, normalising, no [SEG]) or an id that differs.
    """
    pieces = read_vocabulary(checkpoint_dir)
    specials = special_tokens(checkpoint_dir, pieces)
    tokenizer = _tokenizer(pieces, specials)
    ids = {special.content: special.id for special in specials}
    defaults = PromptSettings(segment_token_id=0, begin_token_id=0)
    prompt = PromptSettings(
        segment_token_id=ids["[SEG]"],
        begin_token_id=ids["<s>"],
        reserved=tuple(dict.fromkeys((*defaults.reserved, *ids))),
    )
    _check(tokenizer, pieces, specials, prompt)
    path.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    return prompt


def _tokenizer(pieces: Vocabulary, specials: list[SpecialToken]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(
            vocab=pieces.vocabulary(),
            merges=pieces.merges(),
            unk_token=pieces.piece(pieces.unknown_id),
            fuse_unk=True,  # as sentencepiece: a run of unknown characters is one <unk>
            byte_fallback=pieces.byte_fallback,
        )
    )
    # `normalized=False` cuts specials out of the raw text, so that every part between them gets its own prefix.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    for special in specials:
        record = AddedToken(
            special.content, normalized=False, lstrip=special.lstrip, rstrip=special.rstrip, special=True
        )
        tokenizer.add_special_tokens([record])
    return tokenizer


def _check(tokenizer: Tokenizer, pieces: Vocabulary, specials: list[SpecialToken], prompt: PromptSettings) -> None:
    for special in specials:
        if tokenizer.token_to_id(special.content) != special.id:
            raise CheckpointError(
                f"tokenizer: {special.content} gets id {tokenizer.token_to_id(special.content)}, expected {special.id}; "
                "use the added_tokens.json that belongs to tokenizer.model"
            )
    reference: Any = _SlowTokenizer(pieces, specials)
    for sentence in CHECKED_SENTENCES:
        written = Conversation(sentence, prompt, tokenizer, context_frames=4)
        slow = Conversation(sentence, prompt, reference, context_frames=4)
        prompts = [(written.text(turns), slow.text(turns)) for turns in range(4)]
        if prompt.score_token in prompt.reserved:
            prompts.append((written.score_text(), slow.score_text()))
        for ours, theirs in prompts:
            for got, expected in zip(ours.pieces, theirs.pieces, strict=True):
                if got.tolist() != expected.tolist():
                    raise CheckpointError(
                        f"tokenizer: a prompt of {sentence!r} becomes {got.tolist()}, expected {expected.tolist()} as "
                        "its own library says; this vocabulary cannot be written as tokenizer.json"
                    )


class _Encoded(NamedTuple):
    ids: list[int]


class _SlowTokenizer:
    """The vocabulary's own library behind the one verb that a conversation needs of a tokenizer."""

    def __init__(self, pieces: Vocabulary, specials: list[SpecialToken]) -> None:
        self._pieces, self._specials = pieces, specials

    def encode(self, text: str, add_special_tokens: bool) -> _Encoded:
        assert not add_special_tokens
        return _Encoded(encode_as_reference(text, self._pieces, self._specials))


def encode_as_reference(text: str, pieces: Vocabulary, specials: list[SpecialToken]) -> list[int]:
    """The ids of the slow tokenizer, without <s>: split at the specials, strip, encode every part by the library."""
    parts: list[str | SpecialToken] = [text]
    for special in sorted(specials, key=lambda each: -len(each.content)):
        parts = [cut for part in parts for cut in ([part] if isinstance(part, SpecialToken) else _cut(part, special))]
    ids: list[int] = []
    for index, part in enumerate(parts):
        if isinstance(part, SpecialToken):
            ids.append(part.id)
            continue
        before = parts[index - 1] if index else None
        after = parts[index + 1] if index + 1 < len(parts) else None
        left = part.lstrip() if isinstance(before, SpecialToken) and before.rstrip else part
        ids += pieces.encode(left.rstrip() if isinstance(after, SpecialToken) and after.lstrip else left)
    return ids


def _cut(text: str, special: SpecialToken) -> list[str | SpecialToken]:
    cuts: list[str | SpecialToken] = []
    for part in text.split(special.content):
        cuts += [part, special]
    return cuts[:-1]
