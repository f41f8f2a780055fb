"""What the machine says of itself: clocks, temperatures, throttling, load and energy."""
