"""The rules of the loop together, and the named combinations of them."""

from dataclasses import dataclass, field
from typing import Any

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.lost_target import LostRule, Never, lost_rule
from glus_edge.runtime.policies.memory_rule import MemoryRule, memory_rule
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.refresh import Always, refresh_rule
from glus_edge.runtime.policies.refresh_rule import RefreshRule


@dataclass(frozen=True)
class LoopRules:
    """What a run does beside the reference's way; the defaults are the reference's."""

    refresh: RefreshRule = field(default_factory=Always)
    memory: MemoryRule = field(default_factory=MemoryRule)
    lost: LostRule = field(default_factory=Never)

    @property
    def needs(self) -> Needs:
        """What any of the rules must be told, and so must be computed."""
        return self.refresh.needs | self.memory.needs | self.lost.needs


@dataclass(frozen=True)
class LoopChoice:
    """The rules by their names, as the command line has them."""

    policy: str = "exact"  # the query window's
    refresh: str | RefreshRule = "always"  # by name, or a rule of your own
    memory: str = "reference"
    lost: str = "never"

    def rules(self) -> LoopRules:
        """The rules of these names. InputError: there is none of a name, or a rule of your own is no RefreshRule."""
        refresh = refresh_rule(self.refresh) if isinstance(self.refresh, str) else self.refresh
        if not isinstance(refresh, RefreshRule):
            raise InputError(f"refresh: got {refresh!r}, expected a rule's name or an instance of a RefreshRule")
        return LoopRules(refresh, memory_rule(self.memory), lost_rule(self.lost))


PRESETS = {
    "exact": LoopChoice(),
    "balanced": LoopChoice("window", "drift", "confident+anchors+present", "suspend"),
    "fast": LoopChoice("window", "every:10", "confident", "hide"),
}


def loop_choice(
    preset: str, policy: str | None, refresh: str | RefreshRule | None, memory: str | None, lost: str | None
) -> LoopChoice:
    """A preset, with those of its parts replaced that are given. InputError: there is no such preset."""
    if preset not in PRESETS:
        raise InputError(f"preset: got {preset!r}, expected one of {', '.join(PRESETS)}")
    usual = PRESETS[preset]
    given: dict[str, Any] = {"policy": policy, "refresh": refresh, "memory": memory, "lost": lost}
    return LoopChoice(**{part: getattr(usual, part) if name is None else name for part, name in given.items()})
