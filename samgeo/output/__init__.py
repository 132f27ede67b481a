"""Features and labels out: streamed, verified, then under their final name."""
