"""Who asks: keys, limits, and the ledger of what was made."""
