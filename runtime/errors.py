"""What can go wrong through no fault of ours: one line each (the thing, what came, what was expected, the fix)."""


class GlusEdgeError(Exception):
    """Parent of every error a user can mend. The command line prints its one line and exits with 2."""


class InputError(GlusEdgeError):
    """A sentence, option or path that cannot be used."""


class VideoError(GlusEdgeError):
    """A video file or frame folder that cannot be read."""


class OutputError(GlusEdgeError):
    """Results that cannot be written."""


class BundleError(GlusEdgeError):
    """A bundle that is missing, damaged, newer than this package, or not what its manifest says."""


class HubError(GlusEdgeError):
    """A repository of the Hugging Face Hub that cannot be fetched."""


class CheckpointError(GlusEdgeError):
    """A checkpoint, vision tower or SAM 2 configuration that cannot be exported."""


class ParityError(GlusEdgeError):
    """A graph whose outputs miss the tolerance against the module they came from."""


class EngineError(GlusEdgeError):
    """A backend, provider, precision or engine that cannot be used on this machine."""
