"""What an official checkpoint holds: weights, configurations, the vision tower."""
