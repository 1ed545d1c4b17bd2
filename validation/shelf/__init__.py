"""The shelf of families beside GLMMadaptive and glmmTMB: their fits, the independent maxima, and ours.

Part of ``make validate``; ``python -m validation.shelf`` runs it alone. The fits of the peers and the independent
maxima ("gold") lie beside the repository and not in it; without them nothing is compared.
"""
