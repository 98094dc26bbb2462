"""Pages: one self-contained HTML file of sections, each also Markdown and JSON; and the pictures on them."""
