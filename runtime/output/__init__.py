"""What a run writes: masks, overlay, records."""
