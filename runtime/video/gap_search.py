"""Finds the gaps of a file: what could not be decoded is placed between the frames that came."""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from glus_edge.runtime.video.gap import Gap, LostPacket

_NEAR = 4  # frames between a torn packet and what is missing: packets are stored in another order than they are shown


def find_gaps(
    lost: Sequence[LostPacket],
    *,
    corrupt: Sequence[bool],
    key_frames: Sequence[int],
    timestamps: Sequence[int],
    time_base: Fraction,
    silent: Sequence[int],
    timed: bool,
) -> tuple[Gap, ...]:
    """The gaps between frames of the given increasing `timestamps`, of which some are `corrupt`, in order.

    `silent`: times of packets that gave neither a frame nor an error; many codecs have such, so they only count where
    something was lost. `timed`: False if `timestamps` merely count the frames.
    """
    frames = len(timestamps)

    silent = sorted(silent)
    never_shown = [bisect_left(timestamps, timestamp) for timestamp in silent]
    reasons: dict[int, list[str]] = {}
    for packet in lost:
        where = min(packet.frames_before, frames)
        if timed and packet.timestamp is not None:
            where = bisect_left(timestamps, packet.timestamp)
            # Some decoders say late what they could not decode: what was shown is not what was lost.
            if never_shown and where < frames and timestamps[where] == packet.timestamp and not packet.behind:
                where = never_shown[max(0, bisect_left(silent, packet.timestamp) - 1)]
        reasons.setdefault(where, []).append(packet.reason)
    found = []
    for where, said in reasons.items():
        # A packet with an error gave no frame either: it is among the silent ones if it has a time.
        pictures = max(len(said), never_shown.count(where))
        found.append((where, _intact_from(where, key_frames, frames), pictures, said[0]))
    for begin, end in _runs(corrupt):
        if not any(where <= begin < intact for where, intact, _, _ in found):
            found.append((begin, end, 0, "decoded with errors"))

    def seconds(index: int) -> float | None:
        return float((timestamps[index] - timestamps[0]) * time_base) if 0 <= index < frames else None

    return tuple(
        Gap(where, intact, pictures, seconds(where - 1), seconds(where), reason)
        for where, intact, pictures, reason in sorted(found)
    )


def missing_beside(torn: Sequence[int], timestamps: Sequence[int], frame_ticks: Fraction) -> list[LostPacket]:
    """Frames that are missing beside torn packets of a film with `frame_ticks` from frame to frame.

    Where recordings were joined the demuxer calls packets torn as well, and no frame is missing.
    """
    lost: list[LostPacket] = []
    near = [bisect_left(timestamps, time) for time in torn]
    places = {place + offset for place in near for offset in range(-_NEAR, _NEAR + 1)}
    for place in sorted(places):
        if 0 < place < len(timestamps):
            missing = round((timestamps[place] - timestamps[place - 1]) / frame_ticks) - 1
            packet = LostPacket(timestamps[place], place, "cannot be read (a part of the file is missing)", behind=True)
            lost += missing * [packet]
    return lost


def _intact_from(where: int, key_frames: Sequence[int], frames: int) -> int:
    """The next frame that can be decoded without those before it."""
    place = bisect_left(key_frames, where)
    return key_frames[place] if place < len(key_frames) else frames


def _runs(corrupt: Sequence[bool]) -> list[tuple[int, int]]:
    """Begin and end of each run, but one at the very start: there a recording joined a stream between key frames."""
    runs: list[tuple[int, int]] = []
    for index, flag in enumerate(corrupt):
        if not flag:
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return [run for run in runs if run[0]]
