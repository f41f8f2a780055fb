"""`glus-edge serve`: a page and a WebSocket API for live video. Needs the package `websockets` (`glus-edge[serve]`)."""
