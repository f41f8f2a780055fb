"""What the rules of a run must be told. The loop computes nothing that no rule needs."""

from enum import Flag, auto


class Needs(Flag):
    """Each rule declares its needs; `|` joins those of several rules."""

    NOTHING = 0
    MASK_SIGNALS = auto()  # `MaskSignals` of every mask
    ALTERNATIVE_MASKS = auto()  # the decoder's other masks, from which `MaskSignals.contested` is read
    SCENE_CHANGE = auto()  # how much the colours have changed since the language model was asked last
