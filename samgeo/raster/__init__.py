"""Imagery in: open it, place it, read windows of the working grid."""
