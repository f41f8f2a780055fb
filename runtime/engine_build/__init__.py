"""`glus-edge build`: engines built, and compared on the device before they count."""
