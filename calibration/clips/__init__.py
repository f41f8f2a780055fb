"""The clips calibration runs, and the masks they should give."""
