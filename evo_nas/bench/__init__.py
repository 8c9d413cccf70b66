"""Strategies on recorded results: the same ask and tell, and no training.

``table`` reads what was recorded, ``neighbours`` keeps mutations inside it, ``replay`` runs one
strategy once, ``summary`` sums up many runs, ``plot`` draws them.
"""
