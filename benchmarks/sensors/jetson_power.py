"""What a Jetson's power monitors say: the INA3221 chips by sysfs, and the text of tegrastats.

The kernel's hwmon interface gives millivolts (`inN_input`) and milliamperes (`currN_input`) of each named rail
(https://docs.kernel.org/hwmon/ina3221.html). Rails overlap: VDD_IN is the module's whole input where a board has it, the
others are parts of it. So they are never added up here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HWMON = Path("/sys/class/hwmon")
_DRIVERS = ("ina3221", "ina3221x")
_UNUSED = ("", "NC")
# 'VDD_IN 4654mW/4500mW' since JetPack 5, 'POM_5V_IN 2132/2189' before: milliwatts now, and their mean so far.
_RAIL = re.compile(r"\b((?:VDD|VDDQ|VIN|POM|CV|GPU|SOC|CPU|SYS5V|NC)[A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?= |$)")
_MAXIMUM_MILLIWATTS = 1_000_000


@dataclass(frozen=True)
class InaRail:
    """One rail of one chip."""

    name: str
    volts: Path
    amperes: Path

    def watts(self) -> float | None:
        """Now; None where the file cannot be read."""
        millivolts, milliamperes = _number(self.volts), _number(self.amperes)
        return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6


def ina_rails(hwmon: Path = HWMON) -> tuple[InaRail, ...]:
    """The rails of this board that have a name and can be read; none on other machines."""
    return tuple(rail for rail in _named_rails(hwmon) if rail.watts() is not None)


def rail_watts(line: str) -> dict[str, float]:
    """Watts of each rail in a line that tegrastats printed, at that moment; empty where it names none."""
    return {
        name: int(now) / 1e3
        for name, now, _ in _RAIL.findall(line.strip())
        if int(now) <= _MAXIMUM_MILLIWATTS and name not in _UNUSED
    }


def _named_rails(hwmon: Path) -> Iterator[InaRail]:
    for chip in sorted(hwmon.glob("hwmon*")):
        if _text(chip / "name") not in _DRIVERS:
            continue
        for label in sorted(chip.glob("in*_label")):
            number, name = label.name[2 : -len("_label")], _text(label)
            current = chip / f"curr{number}_input"
            if name not in _UNUSED and current.exists():  # what has no current is the chip's sum of shunts
                yield InaRail(name, chip / f"in{number}_input", current)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not this board's, or not this user's to read
        return ""
