"""The videos calibration runs, and the masks they should give."""
