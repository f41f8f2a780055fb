"""Generated video with sentences that are true of it."""
