"""Images and events -> bytes on their way to a client."""
