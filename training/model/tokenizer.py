"""The nano model's tokenizer: a LLaMA-style sentencepiece BPE with byte fallback, and GLUS' added tokens."""

import io
import json
from pathlib import Path

import sentencepiece

from glus_edge.training.data.scene import COLOURS, SHAPES, SIZES, TEXTURES
from glus_edge.training.data.sentences import MOTION_PHRASES, plural

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
CONTEXT_REQUEST = "Please finished the following tasks on the context frames above."
ANSWER = "Sure, the segmentation result is "
SEGMENT, IMAGE_START, IMAGE_END, SCORE = "[SEG]", "<im_start>", "<im_end>", "[SCORE]"

_CORPUS_REPEATS = 40  # every word of the grammar becomes one piece


def _corpus() -> list[str]:
    words = [*COLOURS, *TEXTURES, *SIZES, *SHAPES, *map(plural, SHAPES), "object", "objects"]
    for one, many in MOTION_PHRASES.values():
        for first, second in (("left", "up"), ("right", "down")):
            words += [one.format(first=first, second=second), many.format(first=first, second=second)]
    words += ["the larger of the two", "the smaller of the two", "the leftmost", "the rightmost", "the highest"]
    words += ["the lowest", "to the left of the", "to the right of the", "above the", "below the", "that"]
    lines = [f"Can you segment the the {word} in this frame? ASSISTANT: {ANSWER}" for word in words]
    return [f"{SYSTEM} USER:", CONTEXT_REQUEST, "USER:", ".", *lines] * _CORPUS_REPEATS


def train_tokenizer() -> bytes:
    """A serialised sentencepiece model, the same every time."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=900,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class NanoTokenizer:
    """Token ids of the prompt's parts, as the slow LlamaTokenizer of the reference would give them."""

    def __init__(self, model: bytes, with_score: bool = False) -> None:
        self.model = model
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        base = self.pieces.get_piece_size()
        self.segment, self.image_start, self.image_end = base, base + 1, base + 2
        self.score = base + 3 if with_score else None
        self.begin, self.end = 1, 2
        self.vocabulary = base + 3 + int(with_score)

    def encode(self, text: str) -> list[int]:
        """Ids of a text part that stands between added tokens."""
        ids: list[int] = self.pieces.encode(text)
        return ids

    def save(self, folder: Path) -> None:
        """The four tokenizer files of the official format."""
        added = {SEGMENT: self.segment, IMAGE_START: self.image_start, IMAGE_END: self.image_end}
        if self.score is not None:
            added[SCORE] = self.score

        def special(content: str) -> dict[str, object]:
            return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

        def tagged(content: str) -> dict[str, object]:
            return {"__type": "AddedToken", **special(content)}

        (folder / "tokenizer.model").write_bytes(self.model)
        files: dict[str, dict[str, object]] = {
            "added_tokens.json": dict(added),
            "special_tokens_map.json": {
                "bos_token": special("<s>"),
                "eos_token": special("</s>"),
                "pad_token": "<unk>",
                "unk_token": special("<unk>"),
            },
            "tokenizer_config.json": {
                "add_bos_token": True,
                "add_eos_token": False,
                "bos_token": tagged("<s>"),
                "clean_up_tokenization_spaces": False,
                "eos_token": tagged("</s>"),
                "legacy": True,
                "model_max_length": 512,
                "pad_token": None,
                "padding_side": "right",
                "sp_model_kwargs": {},
                "tokenizer_class": "LlamaTokenizer",
                "unk_token": tagged("<unk>"),
            },
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n")
