"""`glus-edge bench profile` and `bench compare`: scenarios, every raw sample, and what differs beyond noise."""
