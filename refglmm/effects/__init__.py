"""Means, contrasts, slopes and effects: linear functions of the fixed effects that people report."""
