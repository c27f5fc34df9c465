"""The command line: options in, one call into the library, results and one-line errors out. Nothing imports it."""
