"""What is kept on disk for an hour: results, uploaded files, and the links to them."""
