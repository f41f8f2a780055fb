"""What all sentences about one video share."""

from dataclasses import dataclass

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.language.conversation import Conversation, PromptText, rows_from_prompt
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.shared_prefix import SharedPrefix
from glus_edge.runtime.pixels.tower_inputs import TowerInputs
from glus_edge.runtime.tracking.image_features import ImageFeatures
from glus_edge.runtime.tracking.mask_tracker import SamEngines
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.picture import Picture


@dataclass(frozen=True)
class Engines:
    """The six graphs of a bundle, opened."""

    clip_encoder: Engine
    language_model: Engine
    sam: SamEngines
    pixels: TowerInputs  # what makes the inputs of both image towers


class SharedState:
    """What is computed once for all sentences: image tokens, image features, the context's keys and values."""

    def __init__(self, bundle: Bundle, engines: Engines, stopwatch: Stopwatch | None = None) -> None:
        """`stopwatch` times the stages of every frame; one of its own where none is given."""
        manifest = bundle.manifest
        self.bundle, self.engines = bundle, engines
        self.tokenizer, self.embedding = bundle.tokenizer(), bundle.token_embedding()
        self.stopwatch = stopwatch or Stopwatch()
        self.tokens_prefilled = 0  # rows a sentence; the shared prefix counts once
        # Live video keeps up to twice the context frames, of which it will choose, beside those chosen before; a run
        # from a key frame keeps that one.
        places = 3 * manifest.window.context_frames + manifest.window.query_frames + 1
        self.tokens = ImageTokens(engines.clip_encoder, manifest.model, engines.pixels, places, self.stopwatch)
        self.features = ImageFeatures(engines.sam.image_encoder, manifest.model, engines.pixels, self.stopwatch)
        self.context: tuple[int, ...] = (0,) * manifest.window.context_frames
        # Up to the image of the first query frame a prompt does not depend on the sentence.
        text = Conversation("", manifest.prompt, self.tokenizer, manifest.window.context_frames).text(0)
        self._text = PromptText(text.pieces[:-1])
        self.prefix = SharedPrefix(
            engines.language_model,
            manifest.model,
            self.embedding,
            self.tokens,
            self._text.row_count(manifest.model.image_tokens),
        )

    def picture(self, source: object) -> Picture:
        """A frame's picture from a numpy array or from device memory. InputError: it cannot be used here."""
        return self.engines.pixels.picture(source)

    def wait_until_read(self) -> None:
        """Returns when no frame in device memory is read any more."""
        self.engines.pixels.wait_until_read()

    def read_context(self, frames: tuple[int, ...]) -> None:
        """Shows the language model these frames, whose tokens are held, as context for all that follows."""
        self.context = frames
        with self.stopwatch.stage("language_model"):
            self.prefix.read(rows_from_prompt(self._text, list(frames), self.bundle.manifest.model.image_tokens))
        self.tokens_prefilled += self.prefix.rows
