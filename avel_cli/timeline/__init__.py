"""From scores to events: the types that results are made of, and the rules that make them. No torch here."""
