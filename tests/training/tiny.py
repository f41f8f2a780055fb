from dataclasses import replace

from glus_edge.training.model.language import LanguageSizes
from glus_edge.training.model.network import TowerSizes
from glus_edge.training.settings import EASY, Stage, TrainingSettings


def tiny_settings(*stages: Stage) -> TrainingSettings:
    """A model of the real structure that trains in a second a step."""
    return replace(
        TrainingSettings(),
        stages=stages,
        processes=1,
        compile_layers=False,
        log_every=1,
        save_every=1,
        validation_batches=1,
        language=LanguageSizes(vocabulary=903, hidden=64, intermediate=64, layers=4, heads=2),
        tower=TowerSizes(hidden=32, intermediate=64, layers=3, heads=2),
    )


def tiny_stage(kind: str, steps: int) -> Stage:
    return Stage(kind, kind, steps, 3e-3, first_shares=EASY, warmup_steps=1, videos=1, sentences=2)
