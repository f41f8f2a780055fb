"""`python -m glus_edge.training.train --output DIR`: trains the nano GLUS in stages; run again to go on.

DIR holds state.pt (resumable), best.pt (best grounding so far), log.jsonl (curves), and in the end the official folders.
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from glus_edge.runtime.errors import InputError
from glus_edge.training.ablation import ABLATIONS, WHOLE
from glus_edge.training.checkpoint import save_official
from glus_edge.training.data.batch import stream_batches
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.model.heads import TrainingHeads
from glus_edge.training.model.losses import ContrastBank
from glus_edge.training.model.network import Glus, build_tower
from glus_edge.training.model.score_head import ScoreHead
from glus_edge.training.model.tokenizer import NanoTokenizer, train_tokenizer
from glus_edge.training.optimizer import TrainingOptimizer, stage_optimizer
from glus_edge.training.score import score_step, validate_scores
from glus_edge.training.settings import SCHOOLS, STAGES, Stage, TrainingSettings, stages_from_text
from glus_edge.training.state_file import load_state, readable_state, save_state
from glus_edge.training.steps import STEPS, Learner
from glus_edge.training.validation import validate, validation_batches

_STEPS = {**STEPS, "score": score_step}
BEGINNING: dict[str, Any] = {"stage": 0, "step": 0, "best": 0.0, "seconds": 0.0}
_JUDGED_BY = ("score/agreement", "mask/all", "place/all")  # the first that a stage's validation has


def build_learner(settings: TrainingSettings) -> Learner:
    """A model with random weights, determined by the seed."""
    torch.manual_seed(settings.seed)
    tokenizer = NanoTokenizer(train_tokenizer())
    assert tokenizer.vocabulary == settings.language.vocabulary, f"tokenizer has {tokenizer.vocabulary} ids"
    glus, tower = Glus(settings.language, settings.tower), build_tower(settings.tower)
    width = glus.model.visual_model.hidden_dim
    heads = TrainingHeads(settings.language, settings.tower, width)
    score = ScoreHead(settings.language.hidden, width)  # last: what the others draw does not depend on it
    bank = ContrastBank(width)
    return Learner(glus, tower, heads, tokenizer, settings.tower, bank, score, ABLATIONS[settings.ablation])


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, then a cosine down to the stage's last rate."""
    if step < stage.warmup_steps:
        return stage.peak_rate * (step + 1) / stage.warmup_steps
    done = min((step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1), 1.0)
    low = stage.last_rate_share
    return stage.peak_rate * (low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done)))


def train_step(
    learner: Learner, optimizer: TrainingOptimizer, batch: Any, stage: Stage, step: int, clip_norm: float
) -> dict[str, float]:
    """One step of a stage; gradients are averaged over the processes. Returns the losses."""
    optimizer.set_rate(learning_rate(stage, step))
    with torch.autocast("cpu", torch.bfloat16):
        losses = _STEPS[stage.kind](learner, batch)
    optimizer.zero_grad()
    torch.autograd.backward(torch.stack([loss.float() for loss in losses.values()]).sum())
    live = [p for p in optimizer.parameters() if p.grad is not None]
    if dist.is_initialized():
        flat = torch.cat([p.grad.flatten() for p in live if p.grad is not None])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for p, part in zip(live, torch.split(flat, [p.numel() for p in live]), strict=True):
            p.grad = part.view_as(p)
    torch.nn.utils.clip_grad_norm_(live, clip_norm)
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


class Run:
    """One process's share of a training run."""

    def __init__(self, output: Path, settings: TrainingSettings, rank: int) -> None:
        self.output, self.settings, self.rank = output, settings, rank
        self.learner = build_learner(settings)
        self.place = dict(BEGINNING)
        self.started = time.time()
        state = None
        if (output / "state.pt").exists():
            state = load_state(output / "state.pt", self.learner)
            self.place = state["place"]
        self.optimizer = stage_optimizer(self.learner, settings, self.place["stage"])
        if state is not None and state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])
        self.spent = float(self.place["seconds"])
        torch.manual_seed(settings.seed + 1000 * rank + int(self.place["step"]))
        self.checks = validation_batches(settings.validation_batches) if rank == 0 else []

    def log(self, **entry: Any) -> None:
        """One line for people, one for the curves; by the first process alone."""
        if self.rank:
            return
        entry = {k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}
        with (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(" ".join(f"{k}={v}" for k, v in entry.items()), flush=True)

    def compile(self) -> None:
        """Fuses the layers' elementwise work: on a CPU this halves a step; costs a minute at the start."""
        for layer in [*self.learner.glus.model.layers, *self.learner.tower.vision_model.encoder.layers[:-1]]:
            layer.compile(dynamic=True)

    def all_stages(self) -> None:
        """From where the run stands to the end."""
        with plain_attention_everywhere():
            while self.place["stage"] < len(self.settings.stages):
                self.one_stage(self.settings.stages[self.place["stage"]])
                self.place.update(stage=self.place["stage"] + 1, step=0, best=0.0)
                self.optimizer = stage_optimizer(self.learner, self.settings, self.place["stage"])
                self.keep("state.pt")

    def one_stage(self, stage: Stage) -> None:
        """The steps of a stage that are left."""
        s = self.settings
        self.place["stages"] = [each.name for each in s.stages[: self.place["stage"] + 1]]
        if stage.kind not in SCHOOLS:  # up to here all rows of the ablation table are the same run
            self.place["ablation"] = s.ablation
        first = int(self.place["step"])
        world = s.processes
        base = (s.seed * 64 + self.place["stage"]) * 10_000_000 + self.rank
        stream = stream_batches(stage.mix, first, base, world, worker=True)
        clock = time.time()
        parent = multiprocessing.parent_process()
        for step in range(first, stage.steps):
            if parent is not None and not parent.is_alive():
                raise SystemExit("the training command has ended")
            losses = train_step(self.learner, self.optimizer, next(stream), stage, step, s.clip_norm)
            self.place["step"] = step + 1
            self.place["seconds"] = self.spent + time.time() - self.started
            if (step + 1) % s.log_every == 0:
                seconds, clock = (time.time() - clock) / s.log_every, time.time()
                self.log(stage=stage.name, step=step + 1, s=seconds, total_s=self.place["seconds"], **losses)
            if (step + 1) % s.validate_every == 0 or step + 1 == stage.steps:
                self.check(stage)
            if (step + 1) % s.save_every == 0:
                self.keep("state.pt")

    def check(self, stage: Stage) -> None:
        """Validates; keeps the best, and goes back to it after a collapse."""
        verdict = torch.zeros(1)
        if self.rank == 0:
            self.learner.glus.eval()
            with torch.autocast("cpu", torch.bfloat16):
                if stage.kind == "score":
                    found = validate_scores(self.learner, self.checks)
                else:
                    found = validate(self.learner, self.checks, stage.kind)
            self.learner.glus.train()
            score = next((found[name] for name in _JUDGED_BY if name in found), 0.0)
            self.log(stage=stage.name, step=self.place["step"], total_s=self.place["seconds"], validation=found)
            if score > self.place["best"]:
                self.place["best"] = score
                self.keep("best.pt")
            elif score < self.settings.rollback_share * self.place["best"] and self.place["best"] > 0.2:
                verdict.fill_(1.0)
        if dist.is_initialized():
            dist.broadcast(verdict, 0)
        if verdict.item():
            self.log(stage=stage.name, step=self.place["step"], event="collapsed: back to the best")
            state = load_state(self.output / "best.pt", self.learner)
            self.optimizer.load_state_dict(state["optimizer"])

    def keep(self, name: str) -> None:
        """Writes the state; by the first process alone."""
        if self.rank == 0:
            save_state(self.output / name, self.learner, self.optimizer, self.place)


def _process(rank: int, output: Path, settings: TrainingSettings) -> None:
    torch.set_num_threads(1)
    if settings.processes > 1:
        rendezvous = f"file://{(output / 'rendezvous').resolve()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=settings.processes)
    run = Run(output, settings, rank)
    if settings.compile_layers:
        run.compile()
    run.all_stages()
    if rank == 0:
        learner = run.learner
        save_official(output, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)
    if settings.processes > 1:
        dist.destroy_process_group()


def _check_begun(output: Path, settings: TrainingSettings) -> None:
    """A run goes on as what it was begun as."""
    path = output / "state.pt"
    if path.exists():
        with readable_state(path):
            place = torch.load(path, weights_only=True, mmap=True)["place"]
        done = place.get("stages", [])
        own = [stage.name for stage in settings.stages[: len(done)]]
        if done != own:
            raise InputError(f"{output}: got --stages {','.join(own)}, expected {','.join(done)}, as it was begun")
        begun = place.get("ablation", settings.ablation)
        if begun != settings.ablation:
            raise InputError(f"{output}: got --ablation {settings.ablation}, expected {begun}, as it was begun")


def train(output: Path, settings: TrainingSettings) -> None:
    """Trains, or goes on training, in `settings.processes` processes of one thread each.

    InputError: the folder holds a run of other stages, or another row of the ablation table, or a state that is none.
    """
    if settings.processes < 1 or settings.seed < 0:
        raise InputError(
            f"training: got {settings.processes} processes and seed {settings.seed}, expected at least 1 and at least 0"
        )
    _check_begun(output, settings)
    output.mkdir(parents=True, exist_ok=True)
    (output / "rendezvous").unlink(missing_ok=True)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if settings.processes == 1:
        _process(0, output, settings)
    else:
        spawn(_process, args=(output, settings), nprocs=settings.processes)  # type: ignore[no-untyped-call]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="processes of one thread each")
    parser.add_argument(
        "--ablation", choices=list(ABLATIONS), default=WHOLE, help="a row of the ablation table (default: the whole)"
    )
    parser.add_argument(
        "--stages", metavar="NAME[:STEPS],...", help=f"(default: {','.join(f'{s.name}:{s.steps}' for s in STAGES)})"
    )
    arguments = parser.parse_args()
    try:
        stages = STAGES if arguments.stages is None else stages_from_text(arguments.stages)
        settings = TrainingSettings(stages, arguments.seed, arguments.processes, ablation=arguments.ablation)
        train(arguments.output, settings)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
