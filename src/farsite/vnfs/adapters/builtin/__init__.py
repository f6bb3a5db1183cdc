"""The functions that come with Farsite, managed like any vendor's."""
