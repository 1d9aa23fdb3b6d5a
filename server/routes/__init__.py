"""The endpoints, one file for each group of them: request -> jobs -> fleet -> response."""
