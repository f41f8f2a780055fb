"""The official folders of the model that ships, for the baseline: from the packed weights its training leaves in a clone."""

from pathlib import Path

from safetensors.torch import load_file

from glus_edge.benchmarks.reference.reference import ReferenceSource
from glus_edge.runtime.errors import InputError
from glus_edge.training import checkpoint
from glus_edge.training.learner import build_learner
from glus_edge.training.settings import TrainingSettings

PACKED = Path(checkpoint.__file__).with_name("packed")  # by `python -m glus_edge.training ship`
_OTHERWISE = (
    "or give a bundle and what it was exported from: "
    "--bundle B --checkpoint DIR --vision-tower DIR --sam2-config NAME|YAML"
)


def shipped_source(folder: Path, packed: Path = PACKED) -> ReferenceSource:
    """Writes them into `folder`. InputError: this installation lacks the packed weights, or they are of another model."""
    files = sorted(packed.glob("weights-*.safetensors"))
    if not files:
        raise InputError(
            f"--baseline reference: got no weights in {packed}, expected the shipped model's, which a clone has; {_OTHERWISE}"
        )
    tensors = {name: tensor for path in files for name, tensor in load_file(path).items()}
    learner = build_learner(TrainingSettings())
    modules = {"glus": learner.glus, "tower": learner.tower, "score": learner.score}
    for prefix, module in modules.items():
        if prefix == "score" and not any(name.startswith("score/") for name in tensors):
            continue  # trained without [SCORE]
        own = {name.split("/", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
        try:
            module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in own.items()})
        except RuntimeError as error:
            raise InputError(
                f"{packed}: got weights of another model ({str(error).splitlines()[0]}), expected the shipped model's; "
                f"{_OTHERWISE}"
            ) from error
    checkpoint.save_official(folder, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)
    return ReferenceSource(folder / "checkpoint", folder / "clip", str(folder / "sam2.yaml"))
