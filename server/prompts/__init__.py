"""What becomes of a prompt before it is drawn: its language, its wording, the content policy."""
