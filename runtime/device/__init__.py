"""Memory and streams of the device that engines run on."""
