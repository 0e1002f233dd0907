"""Singer tap for the euro reference rates of the European Central Bank.

Imports point one way: ``tap`` (the Singer SDK) to ``source`` (network and package data) to
``rates`` (pure).
"""
