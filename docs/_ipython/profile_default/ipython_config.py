"""Notebook pictures of the book: PNG at twice the resolution, with their margins cut off."""

c = get_config()
c.InlineBackend.figure_formats = {"retina"}
