"""TensorRT or TensorRT for RTX behind one name: the same Python interface, two libraries."""

import importlib
from dataclasses import dataclass, field
from typing import Any

from glus_edge.runtime.errors import EngineError

# How each library is imported, in order of preference, and how it is had where it is missing.
_MODULES = {
    "tensorrt": (("tensorrt",),),
    # The metapackage's alias, or else the two wheels it stands for; the libraries must be loaded before the bindings.
    "tensorrt-rtx": (("tensorrt_rtx",), ("tensorrt_rtx_libs", "tensorrt_rtx_bindings")),
}
_INSTALL = {
    "tensorrt": "pip install 'glus-edge[tensorrt]', or on a Jetson a virtual environment with --system-site-packages",
    "tensorrt-rtx": "pip install --no-deps tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
}
LIBRARIES = tuple(_MODULES)


@dataclass(frozen=True)
class LogMessages:
    """What TensorRT has logged since it was loaded."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    details: list[str] | None = None  # all the rest, layers of engines included; None: not kept

    def first_error(self, since: int = 0) -> str:
        """The root of a failure: what TensorRT logs after its first error only repeats it. `since`: errors before it."""
        return " ".join(self.errors[since].split())[:300] if len(self.errors) > since else "TensorRT gave no reason"

    def clear(self) -> None:
        """Forgets everything logged so far."""
        self.errors.clear()
        self.warnings.clear()
        if self.details is not None:
            self.details.clear()


@dataclass(frozen=True)
class TensorRt:
    """A loaded TensorRT."""

    library: str  # 'tensorrt' or 'tensorrt-rtx'
    api: Any  # the Python module
    logger: Any  # writes to `messages`
    messages: LogMessages

    @property
    def version(self) -> str:
        """As the library gives it: '10.3.0', '1.7.1.116'."""
        return str(self.api.__version__)


def load_tensorrt(library: str, *, details: bool = False) -> TensorRt:
    """The library of this name ('tensorrt' or 'tensorrt-rtx'). EngineError: not a name, or not installed.

    `details`: keep all that it logs, and have it log every layer of what it compiles.
    """
    if library not in _MODULES:
        raise EngineError(f"TensorRT library: got {library!r}, expected one of {', '.join(LIBRARIES)}")
    causes = []
    for names in _MODULES[library]:
        try:
            *_, api = [importlib.import_module(name) for name in names]
        except (ImportError, OSError) as error:
            causes.append(str(error).splitlines()[0])
            continue
        return tensorrt_from_module(library, api, details=details)
    raise EngineError(f"{library}: cannot be imported ({causes[-1]}); {_INSTALL[library]}")


def tensorrt_from_module(library: str, api: Any, *, details: bool = False) -> TensorRt:
    """A TensorRt over an imported module, with a logger of its own."""
    messages = LogMessages(details=[] if details else None)
    return TensorRt(library, api, _logger(api, messages), messages)


def tensor_types(api: Any) -> dict[Any, str]:
    """Names of the types our tensors have, by the library's values. Its own `nptype` raises for those numpy lacks."""
    return {getattr(api, name): name for name in ("float32", "float16", "int32", "uint8")}


def create(tensorrt: TensorRt, kind: Any, purpose: str) -> Any:
    """A Builder or Runtime. EngineError: TensorRT cannot make one, as without a usable GPU."""
    before = len(tensorrt.messages.errors)
    try:
        return kind(tensorrt.logger)
    except (TypeError, RuntimeError) as error:  # the bindings' way to say that the library returned nothing
        raise EngineError(
            f"{tensorrt.library} {tensorrt.version}: cannot {purpose} on this machine: "
            f"{tensorrt.messages.first_error(before)}; see `glus-edge doctor`; tensorrt-rtx compiles without a GPU"
        ) from error


def _logger(api: Any, messages: LogMessages) -> Any:
    severity = api.ILogger.Severity

    class CollectingLogger(api.ILogger):  # type: ignore[misc]
        """Keeps what a person must know; TensorRT calls it from any of its threads."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                messages.errors.append(message)
            elif level == severity.WARNING:
                messages.warnings.append(message)
            elif messages.details is not None:
                messages.details.append(message)

    return CollectingLogger()
