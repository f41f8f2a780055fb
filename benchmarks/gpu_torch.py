"""The baseline on the same GPU in the same run: the reference's parts in torch, bfloat16, everything anew for each frame."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from glus_edge.benchmarks.gpu_cases import NEW_TOKENS, PREFIX_TOKENS, Case
from glus_edge.benchmarks.reference_language import llama
from glus_edge.export.language_config import LanguageConfig
from glus_edge.export.layers import in_dtype

REFERENCE_IMAGES = 8  # CLIP runs on four context and four query frames
REFERENCE_TOKENS = PREFIX_TOKENS + 4 * NEW_TOKENS - NEW_TOKENS // 2  # about: a full window of four turns


def cuda_missing() -> str:
    """Why torch cannot run on a GPU here; '' if it can."""
    if torch.cuda.is_available():
        return ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
    return f"torch {torch.__version__}: no usable GPU ({built})"


def module_times(case: Case, warm_up: int, measured: int, device: str = "cuda") -> list[float]:
    """Milliseconds of a traced graph's module on the case's inputs; CLIP on as many images as the reference shows it."""
    assert case.module is not None
    module = in_dtype(case.module, torch.bfloat16).to(device)
    inputs = []
    for tensor in case.signature.inputs:
        values = torch.from_numpy(np.asarray(case.calls[-1].inputs[tensor.name])).to(device)
        inputs.append(values.bfloat16() if tensor.dtype == "float16" else values)
    if case.graph == "clip_encoder":
        inputs[0] = inputs[0].expand(REFERENCE_IMAGES, -1, -1, -1).contiguous()
    return _times(lambda: module(*inputs), warm_up, measured, device)


def language_times(config: LanguageConfig, warm_up: int, measured: int, device: str = "cuda") -> list[float]:
    """Milliseconds of transformers' LLaMA over a whole prompt, random weights made on the device."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = llama(config).train(False)
            rows = torch.randn(1, REFERENCE_TOKENS, config.hidden_size)
    finally:
        torch.set_default_dtype(default)
    return _times(lambda: model(inputs_embeds=rows), warm_up, measured, device)


@torch.inference_mode()
def _times(run: Callable[[], object], warm_up: int, measured: int, device: str) -> list[float]:
    if device != "cuda":  # a test's
        return [float(run() is not None)] * measured
    events: Any = torch.cuda.Event  # its constructor has no types
    times = []
    for number in range(warm_up + measured):
        start, stop = (events(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        if number >= warm_up:
            times.append(float(start.elapsed_time(stop)))
    return times
