"""The language model as transformers builds it from the checkpoint's own config.json: what an exported graph is compared with.

Nothing here goes through this package's reading of the configuration, so that a wrong reading cannot agree with itself.
Weights are read one module at a time and dropped after use: a model of any size runs in the memory of its largest matrix.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.language.weights import LanguageWeights
from glus_edge.export.parity.language_reference import LanguageOutputs, Observe
from glus_edge.runtime.errors import CheckpointError

_LLAMA: Any = LlamaForCausalLM  # the library has no types
_LLAMA_CONFIG: Any = LlamaConfig
# What LlamaConfig reads beside the arguments it declares.
_UNDECLARED = ("partial_rotary_factor",)
# What it declares and nothing is computed from; hostile values would only stop its constructor.
_IGNORED = ("self", "kwargs", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "initializer_range")
# What the library's constructors raise on settings that do not fit.
_REFUSALS = (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ArithmeticError)


class LlamaReference:
    """LlamaForCausalLM and GLUS's two heads, float32; every sequence starts at position 0."""

    def __init__(
        self, config: Path, weights: LanguageWeights, scores_frames: bool, observe: Observe | None = None
    ) -> None:
        """config: the checkpoint's config.json. `observe` is shown the inputs of every matrix.

        Raises CheckpointError where transformers cannot build a LLaMA from it.
        """
        self._weights, self._observe = weights, observe
        settings = llama_config(config)
        try:
            with torch.device("meta"):
                self._llama = _LLAMA(settings).eval()
            rotary = self._llama.model.rotary_emb
            self._llama.model.rotary_emb = type(rotary)(config=settings)  # its table is computed, not read
        except _REFUSALS as error:
            raise _unbuildable(config, error) from error
        self._segment_head = self._head("text_hidden_fcs", 2)
        self._score_head = self._head("score_fcs", 3) if scores_frames else None
        for name, module in self._llama.named_modules():
            self._stream(name, module)

    @torch.inference_mode()
    def forward(self, inputs_embeds: torch.Tensor, lengths: Sequence[int] | None = None) -> LanguageOutputs:
        """inputs_embeds [B, T, L]; lengths: real rows of each sequence where shorter ones are filled up at the end,
        which causal attention never looks at. Raises CheckpointError for a tensor that is missing or mis-shaped.
        """
        hidden = self._llama.model(inputs_embeds=inputs_embeds.float(), use_cache=False).last_hidden_state
        ends = torch.tensor(lengths or [hidden.shape[1]] * len(hidden)) - 1
        last = hidden[torch.arange(len(hidden)), ends]
        score = self._score_head(last)[:, 0] if self._score_head is not None else None
        return LanguageOutputs(hidden, self._segment_head(last), self._llama.lm_head(last).argmax(-1), score)

    def _head(self, name: str, linears: int) -> nn.Sequential:
        """Linear layers with a bias and ReLUs between them; their sizes are those of the weights."""
        steps: list[nn.Module] = [nn.ReLU() for _ in range(2 * linears - 1)]
        with torch.device("meta"):
            steps[::2] = [nn.Linear(1, 1) for _ in range(linears)]
        head = nn.Sequential(*steps)
        for step, module in head.named_children():
            self._stream(f"model.{name}.0.{step}", module)
        return head

    def _stream(self, name: str, module: nn.Module) -> None:
        """The module's own parameters are read when it is called, and dropped when it has answered."""
        parameters = [each for each, _ in module.named_parameters(recurse=False)]

        def read(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if self._observe is not None and isinstance(module, nn.Linear):
                self._observe(f"{name}.weight", inputs[0])
            for each in parameters:
                value = self._weights.tensor(f"{name}.{each}").float()
                module.register_parameter(each, nn.Parameter(value, requires_grad=False))

        def drop(module: nn.Module, inputs: Any, output: Any) -> None:
            for each in parameters:
                module.register_parameter(each, nn.Parameter(torch.empty(0, device="meta"), requires_grad=False))

        if parameters:
            module.register_forward_pre_hook(read)
            module.register_forward_hook(drop)


def llama_config(path: Path) -> Any:
    """LlamaConfig from a config.json of either generation of transformers; what it does not know is left out.

    Raises CheckpointError where the library refuses it.
    """
    values = dict(JsonObject.read(path).values)
    declared = set(inspect.signature(LlamaConfig.__init__).parameters)
    rope = values.get("rope_parameters") or values.get("rope_scaling")
    if "rope_parameters" not in declared and isinstance(rope, dict):  # transformers 4 has them under two keys
        values["rope_theta"] = rope.get("rope_theta", values.get("rope_theta"))
        values["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"} or None
    known = {key for key in (*declared, *_UNDECLARED) if key not in _IGNORED and values.get(key) is not None}
    try:
        return _LLAMA_CONFIG(**{key: values[key] for key in known})
    except _REFUSALS as error:
        raise _unbuildable(path, error) from error


def _unbuildable(path: Path, error: Exception) -> CheckpointError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{path}: transformers builds no LLaMA from it ({first[:160]}); use the checkpoint's own file"
    )
