"""A body -> a checked request, in the words and the order of the contract."""
