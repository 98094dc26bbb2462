"""The doctor's report of a run: text for a terminal, and a page."""
