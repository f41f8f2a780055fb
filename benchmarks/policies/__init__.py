"""What each policy of the loop costs in accuracy, and saves."""
