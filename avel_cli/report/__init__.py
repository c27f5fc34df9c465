"""Pages to look at: a film with its timeline as one HTML file, and an index of several. No torch here.

`strips` reads what is drawn beside the events off a film, `page` puts everything into the templates. The page redraws
its events by the rules in `templates/rules.js`, a port of the decoding in `avel_cli.timeline` that tests hold to it.
"""
