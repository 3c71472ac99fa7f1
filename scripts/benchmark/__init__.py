"""The bench: one load, one scripted upstream, and three servers in turn (the upstream itself, a bare pass-through and
the gateway), so that every figure of the gateway has a neighbour measured in the same run.

Rule: absolute figures belong to a machine; read the ratios.
"""
