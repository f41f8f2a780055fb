"""Files of a Hub repository, in the cache of huggingface_hub: the one file that imports it."""

import errno
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from glus_edge.runtime.errors import HubError
from glus_edge.runtime.hub.repository import HubRepository

SHA256_DIGITS = 64
CHUNK_BYTES = 1 << 20
SPARE_BYTES = 64 << 20  # left free for logs and links
AGAIN = "the same command goes on where it stopped"


@dataclass(frozen=True)
class HubSnapshot:
    """Chosen files of a repository at one commit."""

    repository: HubRepository
    commit: str
    folder: Path  # links into the cache
    files: tuple[str, ...]

    def sha256(self) -> dict[str, str]:
        """The SHA-256 of every file, in hexadecimal digits. Raises HubError where a file is not the one on the Hub.

        The cache names a large file by the SHA-256 that the Hub promises for it.
        """
        digests = {}
        for name in self.files:
            blob = (self.folder / name).resolve()
            digest = sha256()
            with blob.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
            digests[name] = digest.hexdigest()
            if len(blob.name) == SHA256_DIGITS and blob.name != digests[name]:
                raise HubError(
                    f"{self.repository}: {name}: got SHA-256 {digests[name][:12]}, expected {blob.name[:12]}; remove "
                    f"{blob} and run the same command again"
                )
        return digests


def download(repository: HubRepository, choose: Callable[[Sequence[str]], list[str]]) -> HubSnapshot:
    """Fetches the files that `choose` picks from the names of all; those in the cache are not fetched again.

    HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE hold as huggingface_hub defines them. Raises HubError where
    huggingface_hub is missing, the repository cannot be read, the disk is too small or the transfer breaks off.
    """
    try:
        from huggingface_hub import HfApi, constants, snapshot_download
    except ImportError as error:
        raise HubError(
            f"{repository}: huggingface_hub is not installed, expected for names on the Hub; pip install 'glus-edge[hub]', "
            "or give a folder"
        ) from error
    with _one_line(repository), _progress():
        offline = constants.HF_HUB_OFFLINE
        if offline:
            cached = Path(snapshot_download(repository.name, revision=repository.revision, local_files_only=True))
            names = sorted(path.name for path in cached.iterdir())
        else:
            siblings = HfApi().model_info(repository.name, revision=repository.revision, files_metadata=True).siblings
            sizes = {file.rfilename: file.size or 0 for file in siblings or ()}
            blobs = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in siblings or ()}
            names = sorted(sizes)
        files = choose(names)
        if not files:
            raise HubError(f"{repository}: has none of the files that are needed; check the name of the repository")
        if not offline:
            store = Path(constants.HF_HUB_CACHE) / f"models--{repository.name.replace('/', '--')}" / "blobs"
            _check_disk(repository, store, {blobs[name] or name: sizes[name] for name in files})
            cached = Path(snapshot_download(repository.name, revision=repository.revision, allow_patterns=files))
    return HubSnapshot(repository, cached.name, cached, tuple(files))


def _check_disk(repository: HubRepository, store: Path, sizes: dict[str, int]) -> None:
    """Raises HubError where what is still to come does not fit. `sizes`: bytes by name in the cache."""
    missing = sum(
        max(0, size - max(_bytes(store / blob), _bytes(store / f"{blob}.incomplete"))) for blob, size in sizes.items()
    )
    place = next(folder for folder in (store, *store.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if missing and missing + SPARE_BYTES > free:
        raise HubError(
            f"{repository}: needs {missing / 1e9:.2f} GB more, and {place} has {free / 1e9:.2f} GB free; free some space, "
            "or name another disk with HF_HOME"
        )


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _progress() -> Iterator[None]:
    """Bars on a terminal alone."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _one_line(repository: HubRepository) -> Iterator[None]:
    """Turns what huggingface_hub raises into a HubError."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise HubError(
            f"{repository}: is not in the cache of the Hub, and cannot be fetched from {hub} now; check the network and unset "
            "HF_HUB_OFFLINE, or give a folder"
        ) from error
    except GatedRepoError as error:
        raise HubError(
            f"{repository}: its owner grants access on request; ask for it on {hub}/{repository.name} and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{repository}: no folder of this name here, and no such repository on {hub}, or a private one; check the name, "
            "or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{repository}: has no revision {repository.revision!r}, expected a branch, tag or commit of {repository.name}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise HubError(f"{repository}: {hub} refuses the token; correct or unset HF_TOKEN") from error
        raise HubError(f"{repository}: {hub} answered with HTTP status {status}; try later: {AGAIN}") from error
    except HFValidationError as error:
        raise HubError(f"{repository}: is not a name on the Hub, expected owner/name or owner/name@revision") from error
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; hf_xet's are RuntimeErrors
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HubError(
                f"{repository}: the disk of {constants.HF_HUB_CACHE} is full; free some space: {AGAIN}"
            ) from error
        raise HubError(
            f"{repository}: no folder of this name here, and the download from {hub} broke off or did not begin "
            f"({type(error).__name__}); check the network: {AGAIN}"
        ) from error
