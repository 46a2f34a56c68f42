"""Tables of people's own measurements: rows of CSV and JSON files as traces."""
