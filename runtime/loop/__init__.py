"""The context/query loop: over a whole video, or over a live stream."""
