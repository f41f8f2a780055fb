"""`manifest.json`: what a bundle says of itself."""

from dataclasses import dataclass, field

from glus_edge.runtime.bundle.signatures import ModelDimensions

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle."""

    file: str  # plain name inside the bundle
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ParityEntry:
    """How far one output of a graph lies from the torch module it came from, on real inputs."""

    output: str
    relative_l2: float  # |graph - torch| / |torch|
    max_abs: float  # largest absolute difference
    tolerance: float  # the relative_l2 this export was allowed


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph. Its tensors follow from `signatures(model, compute)`."""

    graph: FileEntry
    compute: str  # 'float32' or 'float16': the dtype of activations and of COMPUTE tensors
    weights: str  # 'fp32', 'fp16', 'int8', 'int4' or 'fp8': what most of its matrices have
    data: FileEntry | None = None  # external weights
    parity: tuple[ParityEntry, ...] = ()


@dataclass(frozen=True)
class PromptSettings:
    """Texts and token ids of the conversation (the template llava_v1)."""

    segment_token_id: int  # [SEG]
    begin_token_id: int  # <s>, put before the first piece only
    system: str = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions."
    )
    image: str = "<im_start><image><im_end>"
    context_request: str = "\nPlease finished the following tasks on the context frames above.\n"
    question: str = "\nCan you segment the {expression} in this frame?"
    answer: str = "Sure, the segmentation result is "
    segment_token: str = "[SEG]"
    score_token: str = "[SCORE]"  # stands in the place of [SEG] where a frame is to be rated
    reserved: tuple[str, ...] = ("<image>", "<im_start>", "<im_end>", "[SEG]", "<s>", "</s>", "<unk>")


@dataclass(frozen=True)
class WindowSettings:
    """Context and query frames."""

    context_frames: int = 4
    query_frames: int = 4


@dataclass(frozen=True)
class MemorySettings:
    """Which earlier frames memory attention reads."""

    slots: int = 7
    stride: int = 3


@dataclass(frozen=True)
class ImageSettings:
    """Input side in pixels and the normalisation of one of the two image towers."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Manifest:
    """The whole of manifest.json."""

    format_version: int
    name: str
    model: ModelDimensions
    prompt: PromptSettings
    clip: ImageSettings
    sam: ImageSettings
    graphs: dict[str, GraphEntry]
    tokenizer: FileEntry
    token_embedding: FileEntry  # .npy [vocabulary_size, language_width], memory-mapped
    window: WindowSettings = field(default_factory=WindowSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    recipe: FileEntry | None = None  # what `glus-edge calibrate` chose and measured
    provenance: dict[str, str] = field(default_factory=dict)  # checkpoint, settings and tool versions


def files(manifest: Manifest) -> list[FileEntry]:
    """Every file the manifest names."""
    entries = [manifest.tokenizer, manifest.token_embedding]
    entries += [] if manifest.recipe is None else [manifest.recipe]
    for graph in manifest.graphs.values():
        entries += [graph.graph] if graph.data is None else [graph.graph, graph.data]
    return entries
