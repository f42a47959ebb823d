"""The adapter to Flask: the extension, its settings, and what a decorated view does."""
