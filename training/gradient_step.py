"""One step of a stage: losses, gradients averaged over the processes, an update."""

import math

import torch
import torch.distributed as dist

from glus_edge.training.data.batch import Batch
from glus_edge.training.learner import Learner
from glus_edge.training.optimizer import TrainingOptimizer
from glus_edge.training.score import score_step
from glus_edge.training.settings import Stage
from glus_edge.training.steps import STEPS

_LOSSES = {**STEPS, "score": score_step}  # by kind of stage


def train_step(
    learner: Learner, optimizer: TrainingOptimizer, batch: Batch, stage: Stage, step: int, largest_norm: float
) -> dict[str, float]:
    """One step; gradients are clipped to `largest_norm`. Returns the losses by name."""
    optimizer.set_rate(learning_rate(stage, step))
    with torch.autocast("cpu", torch.bfloat16):
        losses = _LOSSES[stage.kind](learner, batch)
    optimizer.zero_grad()
    torch.autograd.backward(torch.stack([loss.float() for loss in losses.values()]).sum())
    trained = [p for p in optimizer.parameters() if p.grad is not None]
    if dist.is_initialized():
        _average_gradients(trained)
    torch.nn.utils.clip_grad_norm_(trained, largest_norm)
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, then a cosine down to the stage's last rate."""
    if step < stage.warmup_steps:
        return stage.peak_rate * (step + 1) / stage.warmup_steps
    done = min((step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1), 1.0)
    low = stage.last_rate_share
    return stage.peak_rate * (low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done)))


def _average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)
