"""What an operator types: flags, sub-commands, and what they print."""
