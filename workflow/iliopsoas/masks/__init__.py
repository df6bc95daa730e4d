"""Masks of the muscles, whoever drew them: reading, bringing to one grid, measuring."""
