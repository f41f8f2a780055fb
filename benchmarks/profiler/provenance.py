"""What exactly was measured: the source tree's commit, and the bundle's files by their hashes."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import glus_edge.benchmarks
from glus_edge.benchmarks.records.profile_record import BundleFacts
from glus_edge.runtime.bundle.manifest import Manifest

_PATIENCE_S = 10


def commit() -> str | None:
    """Of the repository that this package is run from, '+changed' behind it where files differ; None: from none."""
    git, folder = shutil.which("git"), Path(glus_edge.benchmarks.__path__[0]).resolve().parent
    if git is None or not (folder / ".git").exists():
        return None

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                [git, "-C", str(folder), *words], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head, changed = ask("rev-parse", "HEAD"), ask("status", "--porcelain")
    return None if head is None else head + ("+changed" if changed else "")


def bundle_facts(folder: Path, manifest: Manifest) -> BundleFacts:
    """The files as they are now; hashing a 5 GB bundle takes seconds."""
    entries = [entry for graph in manifest.graphs.values() for entry in (graph.graph, graph.data)]
    files = {folder / entry.file for entry in entries if entry is not None}
    return BundleFacts(
        name=manifest.name,
        manifest_sha256=_sha256(folder / "manifest.json"),
        graphs_sha256={path.name: _sha256(path) for path in sorted(files)},
        compute={name: graph.compute for name, graph in manifest.graphs.items()},
        weights={name: graph.weights for name, graph in manifest.graphs.items()},
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
