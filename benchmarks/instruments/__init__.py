"""What measures: peaks, counted work, memory, statistics."""
