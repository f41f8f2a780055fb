"""Trains the small GLUS in stages, or goes on with a run that was stopped.

A run's folder holds state.pt (to go on from), best.pt (best validation so far), log.jsonl (curves), and in the end the
official folders.
"""

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from glus_edge.runtime.errors import InputError
from glus_edge.training.checkpoint import save_official
from glus_edge.training.data.batch import stream_batches
from glus_edge.training.gradient_step import train_step
from glus_edge.training.learner import build_learner
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.optimizer import stage_optimizer
from glus_edge.training.score import validate_scores
from glus_edge.training.settings import SCHOOLS, Stage, TrainingSettings
from glus_edge.training.state_file import BEGINNING, BEST, NEWEST, check_same_run, load_state, save_state
from glus_edge.training.validation import validate, validation_batches

_JUDGED_BY = ("score/agreement", "mask/all", "place/all")  # the first that a stage's validation has
_LEAST_BEST = 0.2  # a best below it is noise: no collapse is told from it


def train(output: Path, settings: TrainingSettings) -> None:
    """Trains, or goes on training, in `settings.processes` processes of one thread each.

    InputError: the folder holds a run of other stages, or another row of the ablation table, or a state that is none.
    """
    if settings.processes < 1 or settings.seed < 0:
        raise InputError(
            f"training: got {settings.processes} processes and seed {settings.seed}, expected at least 1 and at least 0"
        )
    check_same_run(output, settings)
    output.mkdir(parents=True, exist_ok=True)
    (output / "rendezvous").unlink(missing_ok=True)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if settings.processes == 1:
        _process(0, output, settings)
    else:
        spawn(_process, args=(output, settings), nprocs=settings.processes)  # type: ignore[no-untyped-call]


def _process(rank: int, output: Path, settings: TrainingSettings) -> None:
    torch.set_num_threads(1)
    if settings.processes > 1:
        rendezvous = f"file://{(output / 'rendezvous').resolve()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=settings.processes)
    run = TrainingRun(output, settings, rank)
    if settings.compile_layers:
        run.compile()
    run.train()
    if rank == 0:
        learner = run.learner
        save_official(output, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)
    if settings.processes > 1:
        dist.destroy_process_group()


class TrainingRun:
    """One process's share of a training run."""

    def __init__(self, output: Path, settings: TrainingSettings, rank: int) -> None:
        """Goes on from the folder's newest state if there is one. InputError: the state is of another model."""
        self.output, self.settings, self.rank = output, settings, rank
        self.learner = build_learner(settings)
        self.place = dict(BEGINNING)
        state = None
        if (output / NEWEST).exists():
            state = load_state(output / NEWEST, self.learner)
            self.place = state["place"]
        self.optimizer = stage_optimizer(self.learner, settings, self.place["stage"])
        if state is not None and state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])
        self.started = time.time() - float(self.place["seconds"])  # as if the run had never been stopped
        torch.manual_seed(settings.seed + 1000 * rank + int(self.place["step"]))
        self.validation = validation_batches(settings.validation_batches) if rank == 0 else []

    def compile(self) -> None:
        """Fuses the layers' elementwise work: on a CPU this halves a step; costs a minute at the start."""
        for layer in [*self.learner.glus.model.layers, *self.learner.tower.vision_model.encoder.layers[:-1]]:
            layer.compile(dynamic=True)

    def train(self) -> None:
        """From where the run stands to the end of its last stage."""
        with plain_attention_everywhere():
            while self.place["stage"] < len(self.settings.stages):
                self.train_stage(self.settings.stages[self.place["stage"]])
                self.place.update(stage=self.place["stage"] + 1, step=0, best=0.0)
                self.optimizer = stage_optimizer(self.learner, self.settings, self.place["stage"])
                self.save(NEWEST)

    def train_stage(self, stage: Stage) -> None:
        """The steps of a stage that are left."""
        s = self.settings
        self.place["stages"] = [each.name for each in s.stages[: self.place["stage"] + 1]]
        if stage.kind not in SCHOOLS:  # up to here all rows of the ablation table are the same run
            self.place["ablation"] = s.ablation
        first = int(self.place["step"])
        seed = (s.seed * 64 + self.place["stage"]) * 10_000_000 + self.rank
        batches = stream_batches(stage.mix, first, seed, s.processes, worker=True)
        clock = time.time()
        for step in range(first, stage.steps):
            _stop_with_parent()
            losses = train_step(self.learner, self.optimizer, next(batches), stage, step, s.largest_gradient_norm)
            self.place.update(step=step + 1, seconds=time.time() - self.started)
            if (step + 1) % s.log_every == 0:
                seconds, clock = (time.time() - clock) / s.log_every, time.time()
                self.log(stage=stage.name, step=step + 1, s=seconds, total_s=self.place["seconds"], **losses)
            if (step + 1) % s.validate_every == 0 or step + 1 == stage.steps:
                self.validate(stage)
            if (step + 1) % s.save_every == 0:
                self.save(NEWEST)

    def validate(self, stage: Stage) -> None:
        """Keeps the best state, and goes back to it after a collapse."""
        collapsed = torch.zeros(1)
        if self.rank == 0:
            score = self._validation_score(stage)
            if score > self.place["best"]:
                self.place["best"] = score
                self.save(BEST)
            elif score < self.settings.rollback_share * self.place["best"] and self.place["best"] > _LEAST_BEST:
                collapsed.fill_(1.0)
        if dist.is_initialized():
            dist.broadcast(collapsed, 0)
        if collapsed.item():
            self.log(stage=stage.name, step=self.place["step"], event="collapsed: back to the best")
            state = load_state(self.output / BEST, self.learner)
            self.optimizer.load_state_dict(state["optimizer"])

    def _validation_score(self, stage: Stage) -> float:
        self.learner.glus.eval()
        with torch.autocast("cpu", torch.bfloat16):
            if stage.kind == "score":
                found = validate_scores(self.learner, self.validation)
            else:
                found = validate(self.learner, self.validation, stage.kind)
        self.learner.glus.train()
        self.log(stage=stage.name, step=self.place["step"], total_s=self.place["seconds"], validation=found)
        return next((found[name] for name in _JUDGED_BY if name in found), 0.0)

    def log(self, **entry: Any) -> None:
        """One line for people, one for the curves; by the first process alone."""
        if self.rank:
            return
        entry = {k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}
        with (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(" ".join(f"{k}={v}" for k, v in entry.items()), flush=True)

    def save(self, name: str) -> None:
        """Writes the state; by the first process alone."""
        if self.rank == 0:
            save_state(self.output / name, self.learner, self.optimizer, self.place)


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit("the training command has ended")
