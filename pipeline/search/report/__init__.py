"""What a search's trials came to: table, importance of each field, pictures, and a page."""
