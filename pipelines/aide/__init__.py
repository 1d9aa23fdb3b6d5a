"""The process that is asked about texts and pictures."""
