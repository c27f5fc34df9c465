"""Moments of many films by words: an index beside the films, and questions to it that take no network."""
