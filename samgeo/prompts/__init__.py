"""Prompts in map coordinates, every one accounted for."""
