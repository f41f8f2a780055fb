"""What the loop decides frame by frame, in pure Python: windows, context, key frames, when to ask, what to remember."""
