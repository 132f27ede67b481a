"""Which masks of neighbouring windows are one object; nothing in here knows what a map is."""
