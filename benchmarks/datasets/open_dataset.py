"""The set of a name: the generated one, or a folder."""

from pathlib import Path

from glus_edge.benchmarks.datasets.dataset import Dataset
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED, GeneratedDataset
from glus_edge.benchmarks.datasets.mevis_dataset import MevisDataset


def open_dataset(name_or_folder: str) -> Dataset:
    """The generated held-out set, or a folder in MeViS's format. InputError: neither.

    The name wins over a folder of that name: `./generated` is the folder.
    """
    if name_or_folder == GENERATED:
        return GeneratedDataset()
    return MevisDataset(Path(name_or_folder))
